"""The page as tests open it: a server of its own process, and what a visitor does in a browser."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import samplesmith

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENS = Path(samplesmith.__file__).parent / "outputs" / "web"
LONG = 180_000
"""Milliseconds in which a run must end on a machine that does other things too."""


class Server:
    """`samplesmith web` in a process of its own."""

    def __init__(self, home, *arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.home = home
        self.log = home / "server.log"
        environment = {**os.environ, "TMPDIR": str(home), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", "samplesmith", "web", "--port", str(self.port), *arguments]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=home)
        start = time.monotonic()
        while time.monotonic() < start + 120:
            try:
                urllib.request.urlopen(self.url, timeout=5)
                self.seconds = time.monotonic() - start
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()
                time.sleep(0.2)
        pytest.fail(f"no answer within 120 s: {self.log.read_text()}")

    def folders(self):
        """Folders of visitors that are there now."""
        return [folder for home in self.home.glob("samplesmith-web-*") for folder in home.iterdir()]

    def files(self):
        """Everything but what gradio, torch's compiler and the visitors keep."""
        known = ("samplesmith-web-", "gradio", "torchinductor")
        return {file for file in self.home.iterdir() if not file.name.startswith(known)}

    def post(self, path, body, timeout=60):
        request = urllib.request.Request(
            self.url + path, body if isinstance(body, bytes) else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)

    def call(self, name, values):
        """What a program gets that calls the API: the last event and its data."""
        ticket = self.post(f"/gradio_api/call/{name}", {"data": values})["event_id"]
        with urllib.request.urlopen(f"{self.url}/gradio_api/call/{name}/{ticket}", timeout=LONG / 1000) as events:
            text = events.read().decode()
        kind, data = re.findall(r"event: (\w+)\ndata: (.*)", text)[-1]
        return kind, data

    def close(self):
        self.process.terminate()
        self.process.wait(30)


def open_tab(page, title):
    """Go to a tab, which a phone may have folded away behind the others."""
    tab = page.get_by_role("tab", name=title, exact=True)
    if not tab.count():
        page.get_by_role("button", name="More tabs").click()
        tab = page.locator(".overflow-dropdown").get_by_role("button", name=title, exact=True)
    tab.click()


def keep(page, name):
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(400)
    page.screenshot(path=SCREENS / f"{name}.png", full_page=True)


def wait_for_pictures(page, least=1):
    page.wait_for_function(f"document.querySelectorAll('#gallery figure:not(.example) img').length >= {least}")


def wait_for_answer(page):
    """Until a run of the search tab has ended well."""
    page.locator("#status").get_by_text(re.compile(r"^(Cancelled: the best|Best) of \d+ has score")).wait_for()


def ask(page, prompt, candidates=None, steps=None):
    page.locator("#prompt textarea").fill(prompt)
    if candidates is not None:
        set_budget(page, candidates)
    if steps is not None:
        page.get_by_role("button", name="Strategy and steps").click()
        page.locator("#steps").locator("input, textarea").fill(str(steps))


def set_budget(page, candidates):
    number = page.locator("#budget input[type=number]")
    number.fill(str(candidates))
    number.press("Tab")


def loaded(page, selector):
    """Whether every picture there is really drawn."""
    return page.locator(selector).evaluate_all(
        "all => all.length && all.every(one => one.complete && one.naturalWidth)"
    )


def shown_again_after_a_reload(page, tab, pictures):
    """Reload the page, whose address names the last run, and wait until the run stands there again."""
    page.locator(".past >> visible=true").first.wait_for()
    assert f"tab={tab.replace(' ', '+')}" in page.url
    page.reload()
    page.locator(f"{pictures} img[src^='data:']").first.wait_for()
    page.locator(".past >> visible=true").first.wait_for()
