"""The time-shift tab in Debian's Chromium."""

import re
import time

import pytest
from browser import keep, open_tab

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["Measured win", "Wide window"])  # each is a server's run
def test_each_preset_of_time_shift_ends_in_a_visible_result(visit, in_view, name):
    page = visit()
    open_tab(page, "Time shift")
    start = time.monotonic()
    page.get_by_role("button", name=name, exact=True).click()
    page.get_by_text("noises, plain and shifted, by").wait_for()
    end = time.monotonic() - start
    print(f"{name}: the end after {end:.1f} s")
    in_view(page, "#shift-result", ("h2", ".said", ".pair img"))  # no judge looks at these
    pictures = page.get_by_role("img", name=re.compile("(plain|shifted), seed"))
    assert pictures.count() == 10, "four of each, and the first of both in the answer"
    for picture in pictures.element_handles():  # they are fetched after the page has them
        page.wait_for_function("one => one.complete && one.naturalWidth", arg=picture)
    assert page.get_by_text(re.compile(r"\d+% fell on an end of the window")).is_visible()
    assert page.get_by_role("img", name=re.compile("difference, seed")).count() == 4
    assert page.get_by_text("Measured (").is_visible()
    page.get_by_text("The grid's times and the times chosen").click()
    assert page.locator("details table tr").count() >= 8
    keep(page, f"shift-{name.split()[0].lower()}")
    assert not page.problems
