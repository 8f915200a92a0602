"""How long each tab's first preset takes in a browser: until the first picture, and until its end.

    python benchmarks/page_presets.py --output benchmarks/results/page_presets.json

A page of its own is started, its models are loaded by the first tab that needs them, and Chromium clicks. Limits in
seconds hold on idle cores; so the result says how busy the machine was, and the server's own processor seconds: what a
preset takes on one idle core, and more where others share the caches.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

PORT = 7898
URL = f"http://127.0.0.1:{PORT}"
PANEL = "[...document.querySelectorAll('[role=tabpanel]')].find(one => one.getClientRects().length)"
PICTURE = f"{PANEL}.querySelector('img[src^=\"runs/\"]')?.naturalWidth > 0"
BUTTON = f"{PANEL}.querySelector('button.primary')"
LONG = 600_000
"""Milliseconds after which a preset is given up."""


def start(home: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "samplesmith", "web", "--port", str(PORT)]
    process = subprocess.Popen(command, cwd=home, env={**os.environ, "TMPDIR": home}, stdout=subprocess.DEVNULL)
    while True:
        try:
            urllib.request.urlopen(URL, timeout=5)
            return process
        except OSError:
            assert process.poll() is None, "the page did not start"
            time.sleep(0.2)


def processor_seconds(process: subprocess.Popen) -> float:
    """Of a process so far, in all its threads."""
    after_name = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, after_name[11:13])) / os.sysconf("SC_CLK_TCK")


def timed(page: Page, title: str, process: subprocess.Popen) -> dict[str, Any]:
    """Click the first preset of a tab, or its start where it has none."""
    page.get_by_role("tab", name=title, exact=True).click()
    page.wait_for_function(f"{BUTTON} && !{BUTTON}.disabled")
    begun, spent = time.monotonic(), processor_seconds(process)
    page.evaluate(f"({PANEL}.querySelector('.presets button') || {BUTTON}).click()")
    page.wait_for_function(f"{BUTTON}.disabled")
    page.wait_for_function(PICTURE)
    first = time.monotonic() - begun
    page.wait_for_function(f"!{BUTTON}.disabled")
    own = processor_seconds(process) - spent
    end = time.monotonic() - begun
    return {"first picture": round(first, 2), "end": round(end, 2), "processor": round(own, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", required=True)
    output = os.path.abspath(parser.parse_args().output)
    load = os.getloadavg()[0]
    seconds = {}
    with tempfile.TemporaryDirectory() as home, sync_playwright() as playwright:
        process = start(home)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.set_default_timeout(LONG)
            page.goto(URL)
            page.locator(".estimate").get_by_text("NFEs").first.wait_for()
            for title in page.get_by_role("tab").all_inner_texts():
                seconds[title] = timed(page, title, process)
                print(title, seconds[title], flush=True)
        finally:
            browser.close()
            process.terminate()
            process.wait(60)
    found = {"cores": os.cpu_count(), "load before": round(load, 2), "seconds by tab": seconds}
    with open(output, "w") as file:
        file.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
