"""The search tab in Debian's Chromium: what a visitor clicks and sees."""

import json
import re
import shlex
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pytest
import samplesmith
from browser import ask, keep, loaded, set_budget, wait_for_answer, wait_for_pictures
from PIL import Image
from samplesmith.app.page.search.tab import PRESETS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_ends_in_a_visible_result(visit, in_view, name):
    page = visit()
    page.evaluate(
        "() => { window.jumps = 0; new PerformanceObserver(list => list.getEntries().forEach(entry => {"
        " if (!entry.hadRecentInput) window.jumps += entry.value })).observe({type: 'layout-shift', buffered: false}) }"
    )
    page.evaluate(
        "() => new MutationObserver(() => { const first = document.querySelector('#result section section');"
        " if (first?.querySelector('h3').textContent === 'Being drawn' && first.querySelector('img'))"
        " window.preview = first.textContent })"
        ".observe(document.body, {childList: true, subtree: true, characterData: true})"
    )
    start = time.monotonic()
    page.get_by_role("button", name=f"{name}: {PRESETS[name]}").click()
    wait_for_pictures(page)
    first = time.monotonic() - start
    wait_for_answer(page)
    end = time.monotonic() - start
    print(f"{name}: first candidates after {first:.1f} s, the end after {end:.1f} s")
    assert page.locator("#gallery figure").count() == 8
    assert loaded(page, "#gallery img")
    assert loaded(page, "#result img")
    assert re.search(r"step \d+, seed 0", page.evaluate("window.preview")), (
        "something is seen before the first candidate"
    )
    assert page.evaluate("window.jumps") < 0.1, "the layout does not jump while the gallery fills"
    assert page.locator("#gallery .tick").count() == 8, "the judge's word on each"
    assert re.search(r"\d of 8 right", page.locator("#status").inner_text())
    in_view(page, "#result")
    alts = page.locator("#gallery img").evaluate_all("all => all.map(one => one.alt)")
    assert all(PRESETS[name] in alt and re.search(r"score \d\.\d{3}", alt) for alt in alts)
    scores = page.locator("#gallery figcaption").all_inner_texts()
    best = page.locator("#gallery .best figcaption")
    assert best.count() == 1
    numbers = [re.search(r"\d\.\d{3}", text)[0] for text in scores]
    assert re.search(r"\d\.\d{3}", best.inner_text())[0] == max(numbers)
    verdicts = page.locator("#result .verdict").all_inner_texts()
    assert len(verdicts) == 2, "of the best, and of best-of-1"
    assert all(re.match(r"The judge says (right|wrong)\. .*background \w+: (yes|no)", one) for one in verdicts)
    ledger = page.locator("#facts .ledger").inner_text().split()
    assert ledger[ledger.index("NFEs") + 1] == "448"
    assert page.locator("#chart circle").count() >= 8
    keep(page, f"search-{name.split()[-1].lower()}")
    assert not page.problems


def test_the_snippet_and_the_command_shown_find_the_same_winner(visit, tmp_path):
    page = visit()
    ask(page, "two cats on pink", 3, 4)
    page.locator("#start").click()
    wait_for_answer(page)
    caption = page.locator("#result figcaption").first.inner_text()
    score, seed = re.search(r"score (-?\d\.\d+), seed (\d+)", caption).groups()
    code = page.locator("#search-snippet .cm-content").inner_text()
    command = page.locator("#search-command .cm-content").inner_text()
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = re.search(r"seed (\d+), score ([-.\d]+)", run.stdout).groups()
    assert found[0] == seed
    assert float(found[1]) == pytest.approx(float(score), abs=6e-4)  # the page shows three digits
    words = [sys.executable, "-m", *shlex.split(command), "--json"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (best,) = json.loads(run.stdout)["best"]
    assert str(best["seed"]) == seed
    assert best["score"] == pytest.approx(float(found[1]), abs=1e-4)


def test_downloads_are_the_run_s_own_files_and_nothing_else(visit, server):
    page = visit()
    ask(page, "a star on blue", 2, 2)
    page.locator("#start").click()
    wait_for_answer(page)
    got = {}
    for link in page.locator("#facts .downloads a").all():
        with page.expect_download() as download:
            link.click()
        got[download.value.suggested_filename] = Path(download.value.path()).read_bytes()
    assert set(got) == {"contact_sheet.png", "best.png", "records.jsonl"}
    assert Image.open(BytesIO(got["best.png"])).size == (128, 128)
    records = [json.loads(line) for line in got["records.jsonl"].splitlines()]
    assert [record["seed"] for record in records] == [0, 1]

    secret = server.home / "secret.txt"
    secret.write_text("not yours")
    inside = page.locator("#facts .downloads a").first.get_attribute("href").rpartition("/")[0]
    climb = "../" * 4
    tries = [
        f"gradio_api/file={secret}",
        f"{inside}/{climb}secret.txt",
        f"{inside}/{climb.replace('.', '%2e').replace('/', '%2f')}secret.txt",
        f"{inside}/..%252f..%252f..%252f..%252fsecret.txt",
        f"{inside}/{climb}{climb}{climb}etc/passwd",
        "gradio_api/file=/etc/passwd",
        f"gradio_api/file={Path(samplesmith.__file__)}",
        "gradio_api/file=pyproject.toml",
        f"{inside}/",
    ]
    for one in tries:
        answer = page.request.get(f"{server.url}/{one}")
        assert answer.status in (403, 404), one
        assert b"not yours" not in answer.body()
        assert b"root:" not in answer.body()


def test_cancel_keeps_what_was_found_and_frees_the_models(visit):
    page = visit()
    ask(page, "two dogs on green", 64)
    page.locator("#start").click()
    wait_for_pictures(page)
    page.locator("#cancel").click()
    page.get_by_text(re.compile(r"^Cancelled: the best of \d+ has score")).wait_for()
    assert 2 <= page.locator("#gallery img").count() < 64
    assert page.locator("#result .pair").is_visible()
    assert page.locator("#start").is_enabled()
    keep(page, "search-cancelled")
    ask(page, "a star on blue", 1)
    page.locator("#start").click()
    page.get_by_text("Best of 1 has score").wait_for()


def test_an_unknown_word_and_a_budget_out_of_range_are_one_sentence(visit):
    page = visit()
    ask(page, "a dragon on blue")
    page.locator("#start").click()
    alert = page.get_by_role("alert")
    alert.get_by_text("unknown word 'dragon'").wait_for()
    assert "Traceback" not in page.locator("body").inner_text()
    assert page.locator("#result h2").inner_text() == PRESETS["Hard count"], "the pictures stay under their own prompt"
    assert all(PRESETS["Hard count"] in one.get_attribute("alt") for one in page.locator("#gallery img").all())
    keep(page, "search-unknown-word")
    page.locator(".known").get_by_role("button", name="fish", exact=True).click()
    assert page.locator("#prompt textarea").input_value() == "a fish on blue"
    ask(page, "a star on blue", 64, 100)
    page.locator("#start").click()
    alert.get_by_text("the budget is 64 candidates of 100 steps; one visitor may ask for 3,200 steps").wait_for()
    set_budget(page, 1000)
    assert page.locator("#budget input[type=number]").input_value() == "64", "the slider holds its own range"
    assert page.locator("#start").is_enabled()


def test_a_model_of_classes_brings_its_own_guide_judge_and_presets(visit, in_view):
    page = visit()
    page.get_by_role("button", name="Model, verifier and judge").click()
    page.get_by_label("Model", exact=True).locator("visible=true").click()
    page.get_by_role("option", name="fashion-ddpm").click()
    page.get_by_role("button", name="Trouser", exact=True).locator("visible=true").first.click()
    wait_for_answer(page)
    in_view(page, "#result", ("h2", ".pair img"))
    assert page.locator("#result h2").inner_text() == "Trouser"
    assert page.locator("#result .said").inner_text().startswith("Chosen by fashion-classifier from 8.")
    judged = page.locator("#search-command .cm-content").inner_text()
    assert "--verifier fashion-classifier" in judged
    assert "--judge fashion-classifier" not in judged
    assert page.locator("#gallery figure:not(.example) img").count() == 8
    keep(page, "search-classes")
    assert not page.problems


def test_all_candidates_of_the_largest_budget_are_seen(visit):
    page = visit()
    ask(page, "a star on blue", 64, 1)
    page.locator("#start").click()
    wait_for_answer(page)
    pictures = page.locator("#gallery figure:not(.example) img")
    assert pictures.count() == 64
    pictures.last.scroll_into_view_if_needed()
    page.wait_for_function(
        "() => { const one = [...document.querySelectorAll('#gallery img')].at(-1).getBoundingClientRect(),"
        " frame = document.querySelector('#gallery .cells').getBoundingClientRect();"
        " return one.bottom <= frame.bottom + 1 && one.top >= 0 && one.bottom <= innerHeight + 1 }"
    )
