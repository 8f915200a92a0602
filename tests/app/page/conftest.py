"""A studio with the shipped models, and a browser on a server."""

import os

import pytest
from browser import CHROMIUM, LONG, Server
from samplesmith.app.page.models import Models
from samplesmith.app.page.studio import Studio

IN_VIEW = """selector => {
    const boxes = [...document.querySelectorAll(selector)].map(one => one.getBoundingClientRect());
    return boxes.length && boxes.every(box => box.top >= -1 && box.bottom <= innerHeight + 1 && box.height);
}"""
"""Whether all that a selector finds is seen whole; a view that glides there is waited for."""


@pytest.fixture
def studio(emoji_pipe, emoji_clip, judge):
    models = Models()
    for name, model in {"emoji-sd3": emoji_pipe, "emoji-clip": emoji_clip, "emoji-detector": judge}.items():
        models.keep(name, model)
    studio = Studio(models)
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("page"))
    yield server
    server.close()
    assert server.log.read_text() == f"Samplesmith is at {server.url}/ (Ctrl-C ends it)\n", "a clean log"
    assert not list(server.home.glob("samplesmith-web-*")), "SIGTERM leaves no visitor's file behind"


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        sentence = "no Chromium here; `apt-get install chromium` lets the page be tried in a browser"
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium, server):
    """Opens the page as a new visitor; each is another browser profile."""
    contexts = []

    def open_page(url=None, width=1280, height=900, **settings):
        context = chromium.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(LONG)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.goto(url or server.url)
        page.locator("#start").wait_for()
        page.locator(".estimate").get_by_text("NFEs").first.wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def in_view():
    """Checks that a tab's answer came into view by itself: what was asked for, the winner and the verdict."""

    def check(page, result, parts=("h2", ".said", ".pair img", ".verdict")):
        for part in parts:
            page.wait_for_function(IN_VIEW, arg=f"{result} {part}")

    return check
