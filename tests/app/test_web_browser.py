"""The page in Debian's Chromium, against a server of its own process: what a visitor clicks and sees."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

import pytest
import samplesmith
from PIL import Image
from samplesmith.app.tabs.search import PRESETS
from samplesmith.app.tabs.time_shift import PRESETS as SHIFTS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SCREENS = Path(samplesmith.__file__).parent / "outputs" / "web"
LONG = 180_000
"""Milliseconds in which a run must end on a machine that does other things too."""

pytestmark = pytest.mark.slow


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
        """Everything but what gradio and the visitors keep."""
        return {file for file in self.home.iterdir() if not file.name.startswith(("samplesmith-web-", "gradio"))}

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


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("page"))
    yield server
    server.close()
    assert "Traceback" not in server.log.read_text()


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


def keep(page, name):
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.wait_for_timeout(400)
    page.screenshot(path=SCREENS / f"{name}.png", full_page=True)


def wait_for_pictures(page, least=1):
    page.wait_for_function(f"document.querySelectorAll('#gallery img').length >= {least}")


def ask(page, prompt, candidates=None, steps=None):
    page.locator("#prompt textarea").fill(prompt)
    if candidates is not None:
        set_budget(page, candidates)
    if steps is not None:
        page.get_by_role("button", name="Strategy, steps and seed").click()
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


def test_the_page_answers_soon_after_its_start(tmp_path):
    server = Server(tmp_path)
    for _ in range(100):
        if "Samplesmith is at http://127.0.0.1:" in server.log.read_text():
            break
        time.sleep(0.1)
    else:
        pytest.fail("the address is not printed")
    server.close()
    print(f"answered after {server.seconds:.1f} s")
    assert server.seconds < 30, "10 s on two idle cores; the tests share them"


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_ends_in_a_visible_result(visit, name):
    page = visit()
    page.evaluate(
        "() => { window.jumps = 0; new PerformanceObserver(list => list.getEntries().forEach(entry => {"
        " if (!entry.hadRecentInput) window.jumps += entry.value })).observe({type: 'layout-shift', buffered: false}) }"
    )
    start = time.monotonic()
    page.get_by_role("button", name=f"{name}: {PRESETS[name]}").click()
    wait_for_pictures(page)
    first = time.monotonic() - start
    page.locator("#result .pair").wait_for()
    end = time.monotonic() - start
    print(f"{name}: first candidates after {first:.1f} s, the end after {end:.1f} s")
    assert page.locator("#gallery figure").count() == 8
    assert loaded(page, "#gallery img")
    assert loaded(page, "#result img")
    assert page.evaluate("window.jumps") < 0.1, "the layout does not jump while the gallery fills"
    alts = page.locator("#gallery img").evaluate_all("all => all.map(one => one.alt)")
    assert all(PRESETS[name] in alt and re.search(r"score \d\.\d{3}", alt) for alt in alts)
    scores = page.locator("#gallery figcaption").all_inner_texts()
    best = page.locator("#gallery .best figcaption")
    assert best.count() == 1
    assert best.inner_text().replace("★", "").strip() == max(score.replace("★", "").strip() for score in scores)
    verdicts = page.locator(".verdict").all_inner_texts()
    assert len(verdicts) == 2, "of the best, and of best-of-1"
    assert all(re.match(r"The judge says (right|wrong)\. .*background \w+: (yes|no)", one) for one in verdicts)
    ledger = page.locator(".ledger").inner_text().split()
    assert ledger[ledger.index("NFEs") + 1] == "448"
    assert page.locator("#chart circle").count() >= 8
    keep(page, f"search-{name.split()[-1].lower()}")
    assert not page.problems


def test_the_snippet_and_the_command_shown_find_the_same_winner(visit, tmp_path):
    page = visit()
    ask(page, "two cats on pink", 3, 4)
    page.locator("#start").click()
    page.locator("#result .pair").wait_for()
    caption = page.locator("#result figcaption").first.inner_text()
    score, seed = re.search(r"score (-?\d\.\d+), seed (\d+)", caption).groups()
    code = page.locator("#snippet .cm-content").inner_text()
    command = page.locator("#command .cm-content").inner_text()
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    found = re.search(r"seed (\d+), score ([-.\d]+)", run.stdout).groups()
    assert found[0] == seed
    assert float(found[1]) == pytest.approx(float(score), abs=6e-4)  # the page shows three digits
    words = [sys.executable, "-m", *shlex.split(command), "--json"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    (best,) = json.loads(run.stdout)["best"]
    assert str(best["seed"]) == seed
    assert best["score"] == pytest.approx(float(found[1]), abs=1e-4)


def test_downloads_are_the_run_s_own_files_and_nothing_else(visit, server):
    page = visit()
    ask(page, "a star on blue", 2, 2)
    page.locator("#start").click()
    page.locator("#result .pair").wait_for()
    got = {}
    for link in page.locator(".downloads a").all():
        with page.expect_download() as download:
            link.click()
        got[download.value.suggested_filename] = Path(download.value.path()).read_bytes()
    assert set(got) == {"contact_sheet.png", "best.png", "records.jsonl"}
    assert Image.open(BytesIO(got["best.png"])).size == (128, 128)
    records = [json.loads(line) for line in got["records.jsonl"].splitlines()]
    assert [record["seed"] for record in records] == [0, 1]

    secret = server.home / "secret.txt"
    secret.write_text("not yours")
    inside = page.locator(".downloads a").first.get_attribute("href").rpartition("/")[0]
    climb = "../" * 4
    tries = [
        f"gradio_api/file={secret}",
        f"{inside}/{climb}secret.txt",
        f"{inside}/{climb.replace('.', '%2e').replace('/', '%2f')}secret.txt",
        f"{inside}/..%252f..%252f..%252f..%252fsecret.txt",
        f"{inside}/{climb}{climb}{climb}etc/passwd",
        "gradio_api/file=/etc/passwd",
        f"gradio_api/file={Path(samplesmith.__file__)}",
        "gradio_api/file=pyproject.toml",
        f"{inside}/",
    ]
    for one in tries:
        answer = page.request.get(f"{server.url}/{one}")
        assert answer.status in (403, 404), one
        assert b"not yours" not in answer.body()
        assert b"root:" not in answer.body()


def test_cancel_keeps_what_was_found_and_frees_the_models(visit):
    page = visit()
    ask(page, "two dogs on green", 64)
    page.locator("#start").click()
    wait_for_pictures(page)
    page.locator("#cancel").click()
    start = time.monotonic()
    page.get_by_text(re.compile(r"^Cancelled: the best of \d+ has score")).wait_for()
    freed = time.monotonic() - start
    print(f"freed after {freed:.2f} s")
    assert freed < 10
    assert 2 <= page.locator("#gallery img").count() < 64
    assert page.locator("#result .pair").is_visible()
    assert page.locator("#start").is_enabled()
    keep(page, "search-cancelled")
    ask(page, "a star on blue", 1)
    page.locator("#start").click()
    page.get_by_text("Best of 1 has score").wait_for()


def test_reloading_amid_a_run_frees_the_models_and_the_disk(visit, server):
    page = visit()
    ask(page, "two dogs on green", 64)
    page.locator("#start").click()
    wait_for_pictures(page)
    before = server.folders()
    page.reload()
    page.locator("#start").wait_for()
    assert page.locator("#gallery img").count() == 0
    ask(page, "a star on blue", 1)
    start = time.monotonic()
    page.locator("#start").click()
    page.get_by_text("Best of 1 has score").wait_for()
    assert time.monotonic() - start < 45, "the run that was left does not hold the models"
    deadline = time.monotonic() + 20
    while any(folder.exists() and any(folder.rglob("*.png")) for folder in before) and time.monotonic() < deadline:
        left = [folder for folder in before if folder.exists()]
        if len(left) < len(before):
            break
        time.sleep(0.2)
    assert any(not folder.exists() for folder in before)


def test_an_unknown_word_and_a_budget_out_of_range_are_one_sentence(visit):
    page = visit()
    ask(page, "a dragon on blue")
    page.locator("#start").click()
    alert = page.get_by_role("alert")
    alert.get_by_text("unknown word 'dragon'").wait_for()
    text = alert.inner_text()
    assert "known objects: cat, dog" in text
    assert "Traceback" not in page.locator("body").inner_text()
    keep(page, "search-unknown-word")
    ask(page, "a star on blue", 64, 100)
    page.locator("#start").click()
    alert.get_by_text("the budget is 64 candidates of 100 steps; one visitor may ask for 3,200 steps").wait_for()
    set_budget(page, 1000)
    assert page.locator("#budget input[type=number]").input_value() == "64", "the slider holds its own range"
    assert page.locator("#start").is_enabled()


def test_two_visitors_at_once_do_not_mix(visit):
    prompts = ["three cats on pink", "two stars on yellow"]
    pages = [visit() for _ in prompts]
    for page, prompt in zip(pages, prompts, strict=True):
        ask(page, prompt, 8)
    for page in pages:
        page.locator("#start").click()
    pages[1].get_by_text("1 visitor is before you in line").wait_for()
    for page, prompt in zip(pages, prompts, strict=True):
        page.locator("#result .pair").wait_for()
        alts = page.locator("#gallery img, #result img").evaluate_all("all => all.map(one => one.alt)")
        assert len(alts) == 10
        assert all(alt.startswith(prompt) for alt in alts)
        assert prompt in page.locator("#snippet .cm-content").inner_text()


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_in_both_themes(visit, scheme):
    page = visit(width=390, height=844, color_scheme=scheme, has_touch=True)
    ask(page, "two cats left of three stars on yellow", 3, 4)
    page.locator("#start").click()
    page.locator("#result .pair").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, re.findall(r"\d+", background)[:3])) > 384
    assert light == (scheme == "light")
    keep(page, f"phone-{scheme}")
    page.get_by_role("tab", name="Time shift").click()
    page.locator("#compare").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, f"phone-shift-{scheme}")


def test_the_theme_can_be_changed(visit):
    page = visit(color_scheme="light")
    ink = "getComputedStyle(document.querySelector('.head h1')).color"
    before = page.evaluate(ink)
    page.locator("#theme").click()
    page.wait_for_function(f"{ink} !== '{before}'")
    page.get_by_role("button", name="Easy: a star on blue").click()
    page.locator("#result .pair").wait_for()
    keep(page, "search-dark")


def test_a_search_by_keyboard_alone(visit):
    page = visit()
    page.locator("body").press("Tab")
    seen = []
    for _ in range(20):
        focused = page.evaluate("document.activeElement.id || document.activeElement.closest('[id]')?.id || ''")
        seen.append(focused)
        if focused == "start":
            break
        page.keyboard.press("Tab")
    assert "start" in seen, seen
    assert {"preset-easy", "preset-count", "preset-relation"} <= set(seen)
    page.keyboard.press("Enter")
    page.locator("#result .pair").wait_for()
    for image in page.locator("img").all():
        assert image.get_attribute("alt") is not None


@pytest.mark.parametrize("name", SHIFTS)
def test_each_preset_of_time_shift_ends_in_a_visible_result(visit, name):
    page = visit()
    page.get_by_role("tab", name="Time shift").click()
    start = time.monotonic()
    page.get_by_role("button", name=name, exact=True).click()
    page.get_by_text("noises, plain and shifted, by").wait_for()
    end = time.monotonic() - start
    print(f"{name}: the end after {end:.1f} s")
    pictures = page.get_by_role("img", name=re.compile("(plain|shifted), seed"))
    assert pictures.count() == 8
    for picture in pictures.element_handles():  # they are fetched after the page has them
        page.wait_for_function("one => one.complete && one.naturalWidth", arg=picture)
    assert page.get_by_text(re.compile(r"\d+% fell on an end of the window")).is_visible()
    assert page.get_by_text("Measured:").is_visible()
    page.get_by_text("The grid's times and the times chosen").click()
    assert page.locator("details table tr").count() >= 8
    keep(page, f"shift-{name.split()[0].lower()}")
    assert not page.problems


VALUES = ["a star on blue", "emoji-sd3", "emoji-clip", "none", "random", 1, 0, 1, "1", "", "", ""]
SHIFT = ["emoji-sd3", "a star on blue", "flow-euler", 2, 40, 200, "paper", 0.0, True, 1, 0]


def test_the_api_refuses_what_the_page_would_and_lives_on(server):
    def search(**changes):
        places = {"prompt": 0, "model": 1, "verifier": 2, "strategy": 4, "candidates": 5, "seed": 6, "steps": 8}
        values = list(VALUES)
        for key, value in changes.items():
            values[places[key]] = value
        return server.call("search", values)

    before = server.files()
    kind, data = search()
    assert kind == "complete"
    for changes in (
        {"candidates": -1},
        {"candidates": 1000},
        {"candidates": float("nan")},
        {"candidates": "many"},
        {"seed": -5},
        {"seed": float("nan")},
        {"seed": float("inf")},
        {"steps": -1},
        {"steps": "nan"},
        {"steps": "1e400"},
        {"steps": "__import__('os')"},
        {"prompt": "a star on blue " * 700_000},
        {"prompt": None},
        {"prompt": {"path": "/etc/passwd"}},
        {"model": "/etc"},
        {"model": "../../etc"},
        {"verifier": "vlm:x@http://127.0.0.1:1"},
        {"strategy": "random:__class__=1"},
        {"strategy": "luck"},
    ):
        try:
            kind, data = search(**changes)
        except urllib.error.HTTPError as error:
            kind, data = "error", error.read().decode()
        assert kind == "error", str(changes)[:100]
        assert "Traceback" not in data
        assert "site-packages" not in data
    for changes in ({4: -1}, {5: float("nan")}, {3: 10**9}, {2: "../x"}, {0: "/etc"}, {6: "__init__"}, {7: -1.0}):
        values = [changes.get(k, value) for k, value in enumerate(SHIFT)]
        try:
            kind, data = server.call("time_shift", values)
        except urllib.error.HTTPError:
            kind = "error"
        assert kind == "error", changes
    kind, data = server.call("time_shift", SHIFT)
    assert kind == "complete"
    assert server.files() == before, "nothing is written outside of the run's folder"
    assert search()[0] == "complete"


def test_a_session_s_name_is_no_path(server):
    """The browser chooses the name of its session; a hostile one must not become a folder."""
    config = json.load(urllib.request.urlopen(f"{server.url}/config", timeout=30))
    number = next(one["id"] for one in config["dependencies"] if one.get("api_name") == "search")
    before = server.files()
    for session in ("../../../evil", "/etc/evil", "a/b", "..%2f..%2fevil"):
        server.post("/gradio_api/queue/join", {"data": VALUES, "fn_index": number, "session_hash": session})
    deadline = time.monotonic() + 60
    while len(server.folders()) < 4 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert all(re.fullmatch(r"[0-9a-f]{16}", folder.name) for folder in server.folders())
    assert server.files() == before
    assert not Path("/etc/evil").exists()


def test_a_folder_of_another_pipeline_class_in_the_page(visit, tmp_path):
    import toys

    toys.build("StableDiffusion").save_pretrained(tmp_path / "toy")
    (tmp_path / "home").mkdir()
    server = Server(tmp_path / "home", "--model", str(tmp_path / "toy"))
    try:
        page = visit(server.url)
        page.locator("#prompt textarea").fill("a cat on pink")
        set_budget(page, 3)
        page.get_by_role("button", name="Strategy, steps and seed").click()
        page.locator("#steps").locator("input, textarea").fill("2")
        for label in ("Height", "Width"):
            page.get_by_label(label, exact=True).fill("32")
        page.locator("#start").click()
        page.locator("#result .pair").wait_for()
        assert loaded(page, "#gallery img")
        assert "load_verifier('emoji-clip')" in page.locator("#snippet .cm-content").inner_text()
    finally:
        server.close()


def test_a_model_that_is_not_there_is_one_sentence_at_the_start(tmp_path):
    command = [sys.executable, "-m", "samplesmith", "web", "--model", "emoji-sd9"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2
    assert "unknown model 'emoji-sd9'" in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr
