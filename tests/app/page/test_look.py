"""Looking closely at pictures (`look.js`), on the run that is stored with the page."""

import re

import pytest
from browser import keep

pytestmark = pytest.mark.slow


def test_pictures_are_looked_at_one_by_one_side_by_side_and_under_a_slider(visit):
    page = visit()
    page.locator("#gallery .look").nth(1).focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Look closely")
    said = dialog.locator(".said-of-look")
    assert re.match(r"4 of 10: .*candidate 2, seed 1", said.inner_text()), "after best and first draw"
    big = dialog.locator(".current img")
    page.wait_for_function("document.querySelector('dialog .current img').naturalWidth")
    width, own = big.evaluate("one => [one.width, one.naturalWidth]")
    assert width % own == 0, "each pixel stays a square"
    assert width > 2 * own
    assert big.evaluate("one => getComputedStyle(one).imageRendering") == "pixelated"
    page.keyboard.press("ArrowRight")
    assert "candidate 3, seed 2" in said.inner_text()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("p")
    page.keyboard.press("ArrowRight")
    assert re.search(r"candidate 2, seed 1.*; beside it: .*candidate 4, seed 3", said.inner_text())
    assert dialog.locator(".pinned img").is_visible()
    keep(page, "look-beside")
    dialog.get_by_role("button", name="Slider").click()
    slider = dialog.get_by_role("slider", name="before and after")
    slider.fill("20")
    assert dialog.locator(".stage").evaluate("one => one.style.getPropertyValue('--share')") == "20%"
    assert dialog.locator(".pinned").evaluate("one => getComputedStyle(one).clipPath").startswith("inset(")
    dialog.get_by_role("button", name="What the judge sees").click()
    assert dialog.locator(".current .boxes rect").first.is_visible()
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert page.evaluate("document.activeElement.className") == "look", "the focus comes back"
    assert page.locator("#gallery .boxes rect").first.is_visible(), "asked for once, shown everywhere"
    page.locator("#gallery .look").nth(5).click()
    dialog.get_by_role("button", name="Use this seed").click()
    assert page.locator(".seed input").first.input_value() == "5"
    assert not page.problems
