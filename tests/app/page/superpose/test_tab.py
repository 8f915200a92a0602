"""The superpose tab in Debian's Chromium."""

import re
import shlex
import time

import pytest
from browser import keep, shown_again_after_a_reload
from samplesmith.app.page.superpose.tab import PRESETS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["Three"])  # each takes 50 steps of many rows
def test_each_preset_ends_in_a_visible_result(visit, in_view, name):
    page = visit()
    page.get_by_role("tab", name="Superpose").click()
    start = time.monotonic()
    page.locator(f"#preset-{name}").click()
    page.get_by_text("NFEs in all").wait_for()
    print(f"{name}: the end after {time.monotonic() - start:.1f} s")
    in_view(page, "#superpose-result")
    pictures = page.locator("#superposed img")
    assert pictures.count() in (4, 6)
    for picture in pictures.element_handles():  # they are fetched after the page has them
        page.wait_for_function("one => one.complete && one.naturalWidth", arg=picture)
    captions = page.locator("#superposed figcaption").all_inner_texts()
    assert all(re.search(r"seed [01]\s*[✓✗]", caption) for caption in captions)
    page.locator("#superposed summary").first.click()
    said = page.get_by_text(re.compile("The judge says (right|wrong)"))
    assert said.locator("visible=true").count()  # the search tab's stored example says so too
    command = page.locator("#superpose-command .cm-content").inner_text()
    assert shlex.split(command)[:2] == ["samplesmith", "superpose"]
    assert "superpose(" in page.locator("#superpose-snippet .cm-content").inner_text()
    keep(page, f"superpose-{name.lower()}")
    shown_again_after_a_reload(page, "Superpose", "#superposed")
    assert page.locator("#superpose-what textarea").input_value() == PRESETS[name][0]
    assert not page.problems


def test_a_wrong_formula_is_one_sentence(visit):
    page = visit()
    page.get_by_role("tab", name="Superpose").click()
    page.locator("#superpose-what textarea").fill('"with a cat" &')
    page.locator("#superpose-start").click()
    page.get_by_text("lacks a prompt in quotes").wait_for()
    assert page.locator("#superpose-start").is_enabled()
