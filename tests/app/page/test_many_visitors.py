"""Several visitors in Debian's Chromium: they wait, leave and reload, and do not mix."""

import re
import time

import pytest
from browser import ask, wait_for_answer, wait_for_pictures

pytestmark = pytest.mark.slow


def test_two_visitors_at_once_do_not_mix(visit):
    prompts = ["three cats on pink", "two stars on yellow"]
    pages = [visit() for _ in prompts]
    for page, prompt in zip(pages, prompts, strict=True):
        ask(page, prompt, 8)
    for page in pages:
        page.locator("#start").click()
    pages[1].get_by_text("1 visitor is before you in line").wait_for()
    for page, prompt in zip(pages, prompts, strict=True):
        wait_for_answer(page)
        alts = page.locator("#gallery img, #result img").evaluate_all("all => all.map(one => one.alt)")
        assert len(alts) == 10
        assert all(alt.startswith(prompt) for alt in alts)
        assert prompt in page.locator("#search-snippet .cm-content").inner_text()


def test_a_visitor_in_line_can_leave_it(visit):
    first, second = visit(), visit()
    ask(first, "two dogs on green", 64)
    first.locator("#start").click()
    wait_for_pictures(first)
    ask(second, "a star on blue", 1)
    second.locator("#start").click()
    second.get_by_text("1 visitor is before you in line").wait_for()
    second.locator("#cancel").click()
    second.get_by_text("Cancelled.").wait_for()
    first.locator("#cancel").click()
    first.get_by_text(re.compile("^Cancelled: the best of")).wait_for()


def test_reloading_amid_a_run_frees_the_models_and_the_disk(visit, server):
    page = visit()
    ask(page, "two dogs on green", 64)
    page.locator("#start").click()
    wait_for_pictures(page)
    before = server.folders()
    page.reload()
    page.locator("#start").wait_for()
    assert page.locator("#gallery figure:not(.example)").count() == 0
    ask(page, "a star on blue", 1)
    page.locator("#start").click()
    page.get_by_text("Best of 1 has score").wait_for()
    deadline = time.monotonic() + 120
    while any(folder.exists() and any(folder.rglob("*.png")) for folder in before) and time.monotonic() < deadline:
        left = [folder for folder in before if folder.exists()]
        if len(left) < len(before):
            break
        time.sleep(0.2)
    assert any(not folder.exists() for folder in before)
