"""Programs that call the page's API, some of them hostile."""

import json
import re
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

VALUES = ["a star on blue", "emoji-sd3", "emoji-clip", "none", "random", 1, 0, 1, "1", "", "", ""]
COMPARE = ["a star on blue", "emoji-sd3", 1, "seed", 1, 0]
SHIFT = ["emoji-sd3", "a star on blue", "flow-euler", 2, 40, 200, "paper", 0.0, True, 1, 0]


pytestmark = pytest.mark.slow


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
    for changes in ({0: None}, {1: "/etc"}, {2: 10**9}, {3: "__init__"}, {4: 99}, {5: -1}):
        values = [changes.get(k, value) for k, value in enumerate(COMPARE)]
        assert server.call("compare", values)[0] == "error", changes
    with pytest.raises(urllib.error.HTTPError, match="403"):
        server.post("/gradio_api/upload", b"a file")
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
