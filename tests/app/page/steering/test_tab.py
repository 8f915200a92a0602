"""The steering tab in Debian's Chromium: what a visitor clicks and sees."""

import json
import re
import shlex
import subprocess
import sys

import pytest
from browser import keep, loaded, shown_again_after_a_reload
from samplesmith.app.page.steering.tab import BUDGET, PRESETS, STEPS

pytestmark = pytest.mark.slow


def open_tab(visit):
    page = visit()
    page.get_by_role("tab", name="Steering").click()
    page.locator("#steer-start").wait_for()
    return page


@pytest.mark.parametrize("name", ["FK steering"])
def test_each_preset_ends_in_a_visible_result(visit, in_view, name):
    page = open_tab(visit)
    _, prompt = PRESETS[name]
    page.get_by_role("button", name=f"{name}: {prompt}").click()
    page.get_by_text(re.compile("^The best image has score")).wait_for()
    assert page.locator("#steer-path figure:not(.example)").count() == STEPS
    assert loaded(page, "#steer-path img")
    assert loaded(page, "#steer-result img")
    assert page.locator("#steer-path .best").count() == 1
    ledger = page.locator("#steer-facts .ledger").inner_text().split()
    assert BUDGET - 2 < int(ledger[ledger.index("NFEs") + 1]) <= BUDGET
    assert page.locator("#steer-chart circle").count() >= STEPS
    assert page.locator("#steer-tries tbody tr").count() == STEPS
    verdicts = page.locator("#steer-result .verdict").all_inner_texts()
    assert len(verdicts) == 2, "of the steered image, and of best-of-N"
    in_view(page, "#steer-result")
    keep(page, f"steering-{name.split()[0].lower()}")
    scores = page.locator("#steer-path figcaption").all_inner_texts()
    shown_again_after_a_reload(page, "Steering", "#steer-path")
    assert page.locator("#steer-path figcaption").all_inner_texts() == scores
    assert not page.problems


def test_the_command_shown_finds_the_same_image_and_bad_input_is_one_sentence(visit, tmp_path):
    page = open_tab(visit)
    page.locator("#steer-prompt textarea").fill("two cats on pink")
    page.locator("#steer-budget input").fill("24")
    page.locator("#steer-steps input").fill("3")
    page.locator("#steer-start").click()
    page.get_by_text(re.compile("^The best image has score")).wait_for()
    caption = page.locator("#steer-result figcaption").first.inner_text()
    score, seed = re.search(r"score (-?\d\.\d+), seed (\d+)", caption).groups()
    command = page.locator("#steer-command .cm-content").inner_text()
    words = [sys.executable, "-m", *shlex.split(command), "--json"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (best,) = json.loads(run.stdout)["best"]
    assert str(best["seed"]) == seed
    assert best["score"] == pytest.approx(float(score), abs=6e-4)
    page.locator("#steer-budget input").fill("2")
    page.locator("#steer-start").click()
    page.get_by_role("alert").get_by_text("a path of 3 steps makes as many model calls").wait_for()
    assert "Traceback" not in page.locator("body").inner_text()
