"""`samplesmith collect` and `samplesmith reflect`, as a user meets them: two commands to a weak model that samples."""

import json
import re
import shlex
from pathlib import Path

import pytest
import samplesmith


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "prompts.txt").write_text("a star on blue\na cat on pink\n")


def test_two_commands_make_a_weak_model_that_samples(samplesmith, prompts, tmp_path):
    arguments = ["collect", "--prompts", "prompts.txt", "--steps", 2, "--output", "steps"]
    run = samplesmith(*arguments, "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert (found["items"], found["kept"], found["folder"]) == (4, 2, "steps")
    assert "4 steps of 2 trajectories" in samplesmith(*arguments).stdout

    small = ["--items", 128, "--batch-size", 64, "--width", 16, "--layers", 1]
    run = samplesmith("reflect", "steps", *small, "--output", "weak")
    assert run.returncode == 0, run.stderr
    assert "weak/weak-model" in run.stdout
    hook = "weak-to-strong:weak=weak/weak-model,strong_until=0"
    run = samplesmith("sample", "a star on blue", "--steps", 2, "--hook", hook, "--output", "drawn")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "drawn/seed_0.png").is_file()


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("no file nothing.txt", ["--prompts", "nothing.txt"]),
        ("draws is 0; give a whole number", ["--prompts", "prompts.txt", "--draws", 0]),
        ("give both, or neither", ["--prompts", "prompts.txt", "--min-score", 1]),
        ("max_gb is -1", ["--prompts", "prompts.txt", "--max-gb", -1]),
        ("no step was guided", ["--prompts", "prompts.txt", "--guidance-scale", 1, "--steps", 1]),
    ],
)
def test_bad_input_of_collect(fails, prompts, message, arguments):
    fails(message, "collect", *arguments)


def test_bad_input_of_reflect(fails, tmp_path):
    fails("no folder steps; `samplesmith collect` makes one", "reflect", "steps")
    (tmp_path / "empty").mkdir()
    fails("holds no collected steps", "reflect", "empty")
    fails("--guidance-range is '1-7'; give two scales", "reflect", "empty", "--guidance-range", "1-7")


def test_the_two_commands_of_the_pages_are_read(fails, monkeypatch, tmp_path):
    """The same in README.md and docs/guidance.md; each with one setting that is refused before anything is loaded."""
    root = Path(samplesmith.__file__).parent
    pages = [(root / name).read_text() for name in ("README.md", "docs/guidance.md")]
    blocks = [re.search(r"```shell\n(samplesmith collect .*?)```", page, re.DOTALL).group(1) for page in pages]
    assert blocks[0] == blocks[1]
    first, second = (shlex.split(line)[1:] for line in blocks[0].splitlines())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "benchmarks").symlink_to(root / "benchmarks")
    (tmp_path / second[1]).mkdir(parents=True)
    fails("draws is 0; give a whole number", *first, "--draws", "0")
    fails("learning_rate is 0; give a number above 0", *second, "--learning-rate", "0")
