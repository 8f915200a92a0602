"""The guidance tab in Debian's Chromium."""

import re

import pytest
from browser import keep, loaded, shown_again_after_a_reload
from samplesmith.app.page.guidance.tab import PRESETS

pytestmark = pytest.mark.slow


def test_a_preset_shows_every_way_with_its_cost_and_the_lines(visit, in_view):
    page = visit()
    page.get_by_role("tab", name="Guidance").click()
    page.get_by_role("button", name=re.compile("^Pair")).click()
    page.get_by_text(re.compile(r"4 noises, guided in [35] ways")).wait_for()
    in_view(page, "#guidance-result")
    ways = page.locator("#ways section").count()
    assert page.locator("#ways figure:not(.example) img").count() == 4 * ways
    page.wait_for_timeout(500)
    assert loaded(page, "#ways img")
    assert page.locator("#ways dl").count() == ways
    assert page.get_by_text(re.compile(r"^\d of 4 right")).first.is_visible()
    assert f"samplesmith sample '{PRESETS['Pair']}'" in page.locator("#guidance-command").inner_text()
    assert "set_up(pipe" in page.locator("#guidance-snippet").inner_text()
    keep(page, "guidance")
    shown_again_after_a_reload(page, "Guidance", "#ways")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, "guidance-phone")
    assert not page.problems
