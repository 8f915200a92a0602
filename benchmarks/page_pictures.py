"""Make the pictures of the page that README and docs show: `python benchmarks/page_pictures.py [NAME ...]`.

A page of its own is started, Chromium does what a visitor does, and what stands there becomes `docs/page_NAME.png`.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from urllib.parse import urlencode

from page_presets import LONG, URL, start
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
RELATION = "two dogs above a boat on blue"
WIDE, PHONE = (1280, 900), (390, 844)


def opened(browser: Browser, tab: str, size: tuple[int, int] = WIDE, scheme: str = "light", **asked: object) -> Page:
    """The page as a new visitor sees it in a tab; what is asked for runs at once, as the link of a run does."""
    context = browser.new_context(viewport=dict(zip(("width", "height"), size, strict=True)), color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(LONG)
    page.goto(f"{URL}?{urlencode({'tab': tab, **asked})}" if asked else URL)
    if not asked:
        page.locator(".estimate").get_by_text("NFEs").first.wait_for()
    else:
        page.locator(".past >> visible=true").first.wait_for()  # the run has ended
    return page


def search(browser: Browser) -> Page:
    return opened(browser, "Search", prompt=RELATION)


def halving(browser: Browser) -> Page:
    return opened(browser, "Search", prompt=RELATION, strategy="halving")


def compare(browser: Browser) -> Page:
    return opened(browser, "Compare", prompt=RELATION)


def superpose(browser: Browser) -> Page:
    return opened(browser, "Superpose", operator="and")


def time_shift(browser: Browser) -> Page:
    return opened(browser, "Time shift", condition="Sneaker")


def one_step(browser: Browser) -> Page:
    return opened(browser, "One step", prompt=RELATION)


def phone(browser: Browser) -> Page:
    return opened(browser, "Search", PHONE, "dark", prompt="two cats left of three stars on yellow")


def words(browser: Browser) -> Page:
    page = opened(browser, "Search")
    page.locator("#prompt textarea").fill("a dragon on blue")
    page.locator("#prompt textarea").press("Enter")
    page.locator(".known").wait_for()
    return page


def look(browser: Browser) -> Page:
    page = opened(browser, "Search")
    page.locator("#result .look").first.click()
    page.keyboard.press("p")
    page.get_by_role("dialog").get_by_role("button", name="What the judge sees").click()
    return page


PICTURES: dict[str, tuple[Callable[[Browser], Page], int]] = {
    "search": (search, 1500),
    "words": (words, 900),
    "look": (look, 900),
    "halving": (halving, 1700),
    "compare": (compare, 1450),
    "superpose": (superpose, 1500),
    "time_shift": (time_shift, 1500),
    "one_step": (one_step, 2280),
    "phone": (phone, 844),
}
"""What is done, and the height that is shown."""


def main(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        process = start(home)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            for name in names:
                make, height = PICTURES[name]
                page = make(browser)
                page.wait_for_timeout(1500)  # colours and the view settle
                whole = height > page.viewport_size["height"]
                shot = Image.open(BytesIO(page.screenshot(full_page=whole))).convert("RGB")
                shot = shot.crop((0, 0, shot.width, min(height, shot.height)))
                shot.quantize(256, dither=Image.Dither.NONE).save(DOCS / f"page_{name}.png", optimize=True)
                print(name, shot.size, flush=True)
                page.context.close()
        finally:
            browser.close()
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main(sys.argv[1:] or list(PICTURES))
