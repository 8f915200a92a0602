"""What all commands share: help, markup in what users wrote, devices, folders, Ctrl-C."""

import json
import signal
import subprocess
import sys
import time
from functools import partial

import pytest
import torch
import toys
from PIL import Image

EASY = "a star on blue"


def test_models_and_help(samplesmith):
    names = {row["name"] for row in json.loads(samplesmith("models", "--json").stdout)}
    assert {"emoji-sd3", "emoji-clip", "emoji-detector", "emoji-aesthetic"} <= names
    for command in ("search", "sample", "score", "models"):
        run = samplesmith(command, "--help")
        assert run.returncode == 0
        assert "Example:" in run.stdout


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_devices_that_are_not_here(fails):
    for command in (["search", EASY], ["sample", EASY], ["web"]):
        fails("device is 'cuda', which cannot be used here", *command, "--device", "cuda")
        fails("offload moves parts to a GPU, and there is none here", *command, "--offload")


@pytest.fixture
def toy_folder(tmp_path):
    """A model of another house, which takes any prompt."""
    toys.build("StableDiffusion").save_pretrained(tmp_path / "toy")
    return tmp_path / "toy"


class TestOddPrompts:
    def test_markup_is_printed_as_written(self, samplesmith, toy_folder):
        for prompt in ("a cat [/red] on pink", "a [bold]cat[/bold] :smiley:"):
            arguments = ["--model", toy_folder, "--steps", "1", "--height", "32", "--width", "32"]
            more = ["--verifier", "emoji-aesthetic", "--candidates", "2"]
            run = samplesmith("search", prompt, *arguments, *more)
            assert run.returncode == 0, run.stderr
            assert prompt in " ".join(run.stdout.split())
            run = samplesmith("sample", prompt, *arguments)
            assert prompt in run.stdout
            assert repr(prompt) not in run.stderr

    def test_markup_in_messages(self, fails):
        fails("unknown model '[red]'", "sample", EASY, "--model", "[red]")
        fails("unknown verifier '[/red]'", "search", EASY, "--verifier", "[/red]")
        fails("unknown word '[/red]'", "search", "a [/red] cat")


class TestInterrupted:
    """Ctrl-C: exit code 130, what is kept, and how to go on."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["search", EASY, "--output", "out"], "what is recorded in out is kept, and the same command goes on"),
            (["search", EASY], "nothing is kept; with --output FOLDER candidates are"),
            (["score", ".", "--prompt", EASY], "stopped; nothing is kept"),
        ],
    )
    def test_what_is_said(self, samplesmith, monkeypatch, tmp_path, arguments, said):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
        monkeypatch.setattr("samplesmith.verifiers.load_verifier", interrupted)
        run = samplesmith(*arguments)
        assert run.returncode == 130
        assert said in " ".join(run.stderr.split())

    @pytest.mark.slow
    def test_a_search_goes_on_from_there(self, samplesmith, tmp_path):
        arguments = ["search", EASY, "--candidates", "6", "--steps", "6", "--batch-size", "1", "--output", "out"]
        command = [sys.executable, "-m", "samplesmith", *arguments]
        heeds = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a shell's background jobs do not
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=heeds)
        records = tmp_path / "out/records.jsonl"
        while not (records.exists() and records.read_text().count("\n") >= 2):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
        assert process.returncode == 130
        assert "what is recorded in out is kept" in said
        kept = records.read_text()
        run = samplesmith(*arguments)
        assert run.returncode == 0, run.stderr
        assert records.read_text().startswith(kept)
        assert records.read_text().count("\n") == 6


def test_a_folder_for_results_is_tried_before_they_are_paid_for(fails, tmp_path, monkeypatch):
    monkeypatch.setattr("samplesmith.pipelines.loading.load", lambda *_: pytest.fail("loaded for nothing"))
    (tmp_path / "taken").write_text("")
    (tmp_path / "prompts.txt").write_text(EASY)
    for command in (["search", EASY], ["sample", EASY], ["calibrate", "--prompts", "prompts.txt"]):
        fails("cannot write to the folder taken (--output), name another", *command, "--output", "taken")


def test_the_installed_command():
    """As a process of its own: what stands on stdout is JSON alone, also when a bar and loaders would like to write."""
    command = [sys.executable, "-m", "samplesmith", "search", EASY, "--candidates", "1", "--steps", "1", "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["best"][0]["seed"] == 0
