"""The page as a whole in Debian's Chromium: its start, phones, themes, the keyboard."""

import re
import subprocess
import sys
import time
from urllib.parse import urlencode

import pytest
import toys
from browser import Server, ask, keep, loaded, open_tab, set_budget, wait_for_answer
from samplesmith.app.page.tabs import TABS

pytestmark = pytest.mark.slow


def test_the_page_says_where_it_is_and_answers(tmp_path):
    server = Server(tmp_path)
    for _ in range(600):
        if f"Samplesmith is at {server.url}" in server.log.read_text():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the address is not printed")
    server.close()


def test_the_page_is_built_before_the_slow_imports():
    code = (
        "import sys\n"
        "from samplesmith.app import cli\n"
        "from samplesmith.app.page.models import Models\n"
        "from samplesmith.app.page.shell import build_page\n"
        "from samplesmith.app.page.studio import Studio\n"
        "from samplesmith.pipelines.on_device import check_device\n"
        "build_page(Studio(Models()))\n"
        "assert 'torch' not in sys.modules\n"
        "check_device(None)\n"
        "print({'diffusers', 'transformers', 'open_clip'} & set(sys.modules) or 'none')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.strip() == "none", run.stdout + run.stderr


FEW = {
    "Search": ("#result", {"prompt": "two cats on pink", "candidates": 2, "steps": 2}),
    "Compare": ("#compared", {"prompt": "two cats on pink", "candidates": 1, "columns": 2}),
    "Steering": ("#steer-result", {"prompt": "two cats on pink", "budget": 24, "steps": 3}),
    "Superpose": ("#superpose-result", {"what": "with a cat\nwith a dog", "steps": 2}),
    "Guidance": ("#guidance-result", {"prompt": "two cats on pink", "steps": 4, "images": 1}),
    "Time shift": ("#shift-result", {"condition": "Sneaker", "steps": 4}),
    "One step": ("#one-step-result", {"prompt": "two cats on pink", "steps": 1, "images": 1}),
}
"""Where a tab's answer stands, and settings with which its run is short."""


@pytest.mark.parametrize("title", TABS)
def test_on_a_phone_the_view_comes_to_the_answer_of_every_tab(visit, server, in_view, title):
    page = visit(width=390, height=844, color_scheme="dark", has_touch=True)
    result, few = FEW[title]
    page.goto(f"{server.url}?{urlencode({'tab': title, **few})}")
    page.locator(".past >> visible=true").first.wait_for()  # the run of the link has ended
    top = f"document.querySelector('{result} .answer').getBoundingClientRect().top"
    page.wait_for_function(f"Math.abs({top}) < 60")
    in_view(page, result, ["h2", ".said", ".pair img", *([] if title == "Time shift" else [".verdict"])])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, f"phone-{title.lower().replace(' ', '-')}")
    assert not page.problems


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_in_both_themes(visit, scheme):
    page = visit(width=390, height=844, color_scheme=scheme, has_touch=True)
    ask(page, "two cats left of three stars on yellow", 3, 4)
    page.locator("#start").click()
    wait_for_answer(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.wait_for_function("Math.abs(document.querySelector('#result .answer').getBoundingClientRect().top) < 60")
    for part in ("h2", ".pair .best img", ".verdict"):
        box = page.locator(f"#result {part}").first.bounding_box()
        assert -60 <= box["y"] <= 844 - box["height"], "the view has come to the answer"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", background)[:3])) > 384
    assert light == (scheme == "light")
    keep(page, f"phone-{scheme}")
    open_tab(page, "Time shift")
    page.locator("#compare").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, f"phone-shift-{scheme}")


def test_the_theme_can_be_changed(visit):
    page = visit(color_scheme="light")
    ink = "getComputedStyle(document.querySelector('.head h1')).color"
    before = page.evaluate(ink)
    page.locator("#theme").click()
    page.wait_for_function(f"{ink} !== '{before}'")
    page.get_by_role("button", name="Easy: a star on blue").click()
    wait_for_answer(page)
    keep(page, "search-dark")


def test_a_search_by_keyboard_alone(visit):
    page = visit()
    page.locator("body").press("Tab")
    seen = []
    for _ in range(30):
        focused = page.evaluate("document.activeElement.id || document.activeElement.closest('[id]')?.id || ''")
        outline = page.evaluate("getComputedStyle(document.activeElement).outline")
        assert " solid " in outline, f"the focus is seen everywhere, not on {focused}: {outline}"
        seen.append(focused)
        if focused == "start":
            break
        page.keyboard.press("Tab")
    assert "start" in seen, seen
    assert {"preset-easy", "preset-count", "preset-relation"} <= set(seen)
    page.keyboard.press("Enter")
    wait_for_answer(page)
    for image in page.locator("img").all():
        assert image.get_attribute("alt") is not None


def test_a_folder_of_another_pipeline_class_in_the_page(visit, tmp_path):

    toys.build("StableDiffusion").save_pretrained(tmp_path / "toy")
    (tmp_path / "home").mkdir()
    server = Server(tmp_path / "home", "--model", str(tmp_path / "toy"))
    try:
        page = visit(server.url)
        page.locator("#prompt textarea").fill("a cat on pink")
        set_budget(page, 3)
        page.get_by_role("button", name="Strategy and steps").click()
        page.locator("#steps").locator("input, textarea").fill("2")
        for label in ("Height", "Width"):
            page.get_by_label(label, exact=True).fill("32")
        page.locator("#start").click()
        wait_for_answer(page)
        assert loaded(page, "#gallery img")
        assert "load_verifier('emoji-clip')" in page.locator("#search-snippet .cm-content").inner_text()
    finally:
        server.close()
