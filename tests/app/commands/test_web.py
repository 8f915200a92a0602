"""`samplesmith web` refuses what it cannot open, before it loads anything."""

import socket
import subprocess
import sys

import pytest


def test_the_page_at_an_odd_address(fails):
    fails("--port is 99999; give a number from 1 to 65535", "web", "--port", "99999")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        fails("the page cannot be opened at 127.0.0.1", "web", "--port", taken.getsockname()[1])


def test_what_the_page_cannot_use_is_said_at_the_start(fails, tmp_path, monkeypatch):
    monkeypatch.setattr("samplesmith.app.page.shell.launch", lambda **_: pytest.fail("the page was opened"))
    for message, *arguments in (
        ("'luck'", "--verifier", "luck"),
        ("'luck'", "--judge", "luck"),
        ("unknown dtype 'float7'", "--dtype", "float7"),
        ("is no pipeline: it holds no model_index.json", "--model", tmp_path),
    ):
        fails(message, "web", *arguments)


def test_a_model_that_is_not_there_is_one_sentence_at_the_start(tmp_path):
    command = [sys.executable, "-m", "samplesmith", "web", "--model", "emoji-sd9"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2
    assert "unknown model 'emoji-sd9'" in " ".join(run.stderr.split())
    assert "Traceback" not in run.stderr
