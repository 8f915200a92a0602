"""A visit's memory, which the browser keeps: links, earlier runs, the theme."""

import pytest
from browser import ask, wait_for_answer

pytestmark = pytest.mark.slow

RUN = "#gallery figure:not(.example) img"


def test_runs_are_shown_again_after_a_reload_and_a_link_repeats_them(visit, server):
    page = visit(color_scheme="light")
    page.locator("#theme").click()
    ask(page, "a star on blue", 2, 2)
    page.locator("#random-seed").click()
    page.wait_for_function("document.querySelector('.seed input').value !== '0'")
    seed = page.locator(".seed input").first.input_value()
    page.locator("#prompt textarea").press("Enter")
    wait_for_answer(page)
    page.locator(".past").first.wait_for()
    scores = page.locator("#gallery figcaption").all_inner_texts()
    link = page.url
    assert f"seed={seed}" in link

    page.reload()
    page.locator(RUN).first.wait_for()
    assert page.locator("#gallery figcaption").all_inner_texts() == scores
    assert page.locator("#prompt textarea").input_value() == "a star on blue"
    assert page.locator(RUN).first.get_attribute("src").startswith("data:image/png"), "nothing is kept on the server"
    assert page.evaluate("document.body.classList.contains('dark')"), "the theme is remembered"
    assert page.locator(".past").count() >= 1

    ask(page, "a cat on pink")
    page.locator("#prompt textarea").press("Enter")
    page.locator("#result h2").get_by_text("a cat on pink").wait_for()
    wait_for_answer(page)
    page.locator(".past >> visible=true").nth(1).wait_for()
    page.locator(".past >> visible=true").last.click()
    page.locator("#result h2").get_by_text("a star on blue").wait_for()
    assert page.locator("#gallery figcaption").all_inner_texts() == scores, "an earlier run of the strip is shown again"
    assert page.url == link

    other = visit(link)
    wait_for_answer(other)
    assert other.locator("#gallery figcaption").all_inner_texts() == scores, "a link repeats the run"
    assert not page.problems + other.problems
