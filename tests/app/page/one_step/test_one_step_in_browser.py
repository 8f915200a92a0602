"""The one-step tab in Debian's Chromium."""

import re

import pytest
from browser import keep, loaded, open_tab, shown_again_after_a_reload
from samplesmith.app.page.one_step.tab import IMAGES, PRESETS

pytestmark = pytest.mark.slow


def test_a_preset_shows_both_and_the_best_in_the_teacher_s_time(visit, in_view):
    page = visit()
    open_tab(page, "One step")
    page.get_by_role("button", name=re.compile("^Relation: a car")).and_(page.locator("#one-step-relation")).click()
    page.get_by_text(re.compile(rf"^{IMAGES} noises. The judge: teacher \d of {IMAGES} right")).wait_for()
    assert page.locator("#one-step-rows section").count() >= 4
    assert page.locator("#one-step-rows figure:not(.example) img").count() > 3 * IMAGES
    page.wait_for_timeout(500)
    assert loaded(page, "#one-step-rows img")
    assert loaded(page, "#one-step-result img")
    assert page.locator("#one-step-result .verdict").count() == 2
    assert page.locator("#one-step-result .best").count() == 1
    said = page.locator("#one-step-result .said").inner_text()
    assert re.search(r"s and \d+ NFEs for one picture by emoji-sd3; .* s and \d+ NFEs for \d+ by emoji-turbo", said)
    assert page.get_by_text("time for each").count() >= 3
    assert f"samplesmith sample '{PRESETS['Relation']}'" in page.locator("#one-step-command").inner_text()
    in_view(page, "#one-step-result")
    keep(page, "one-step")
    shown_again_after_a_reload(page, "One step", "#one-step-rows")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, "one-step-phone")
    assert not page.problems
