"""The compare tab in Debian's Chromium."""

import json
import re
from io import BytesIO
from pathlib import Path

import pytest
from browser import keep, loaded, open_tab, shown_again_after_a_reload
from PIL import Image
from samplesmith.app.page.compare.work import WAYS

pytestmark = pytest.mark.slow

RUN = "#compared .compare figure:not(.example)"


def test_one_click_shows_every_way_s_winner_its_cost_and_who_won(visit, in_view):
    page = visit()
    open_tab(page, "Compare")
    page.locator("#compare-start").click()
    page.locator(".past >> visible=true").first.wait_for()  # the run has ended
    in_view(page, "#compared")
    cells = page.locator(f"{RUN} img")
    assert cells.count() == 2 * len(WAYS)
    page.wait_for_timeout(500)
    assert loaded(page, "#compared img")
    costs = page.locator("#compared .cost").all_inner_texts()
    assert len(costs) == cells.count()
    assert all(re.fullmatch(r"\d+ tried, 1[01]\d NFEs, [\d.]+ s", one) for one in costs)
    captions = page.locator(f"{RUN} figcaption").all_inner_texts()
    best = max(range(len(captions)), key=lambda k: re.search(r"\d\.\d{3}", captions[k])[0])
    way = list(WAYS)[best // 2]
    assert page.locator("#compared .pair h3").first.inner_text() == f"Best: {way}"
    assert f"that of {way} has the highest score" in page.locator("#compared .said").inner_text()
    assert page.locator(f"{RUN}.best").count() == 1
    assert page.get_by_text("Budget of each: 112 NFEs").is_visible()
    got = {}
    for link in page.locator(".downloads a").locator("visible=true").all():
        with page.expect_download() as download:
            link.click()
        got[download.value.suggested_filename] = Path(download.value.path()).read_bytes()
    assert set(got) == {"comparison.png", "comparison.json"}
    assert Image.open(BytesIO(got["comparison.png"])).width > 256
    assert len(json.loads(got["comparison.json"])) == cells.count()
    keep(page, "compare")
    shown_again_after_a_reload(page, "Compare", "#compared")
    assert page.locator(f"{RUN} figcaption").all_inner_texts() == captions
    assert not page.problems


def test_guidance_scales_are_columns_too(visit, server):
    page = visit()
    page.goto(f"{server.url}?tab=Compare&candidates=1&across=guidance+scale&columns=2&prompt=a+star+on+blue")
    page.locator(".past >> visible=true").first.wait_for()
    heads = page.locator("#compared thead th").all_inner_texts()
    assert heads == ["guidance scale 1.5", "guidance scale 3"]
    assert page.get_by_text(re.compile(r"^★ ?score \d\.\d{3}, guidance scale (1\.5|3)")).first.is_visible()
    assert page.locator(f"{RUN} img").count() == 2 * len(WAYS) - 1
    assert page.get_by_text("the calibration is of the guidance scale 3.0, not 1.5").is_visible(), "why one is missing"
    assert not page.problems
