"""The command line as a user meets it: bad input is exit code 2 and one sentence, never a trace."""

import json
import subprocess
import sys

import pytest
from PIL import Image

EASY = "a star on blue"


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("unknown word 'dragon' in the prompt; known objects: cat", ["a dragon on blue"]),
        ("emoji-sd3 was trained before the captions had '5'; write a full caption", ["5 fish on pink"]),
        ("unknown model 'emoji-sd9'", [EASY, "--model", "emoji-sd9"]),
        ("unknown verifier 'emoji-clop'", [EASY, "--verifier", "emoji-clop"]),
        ("unknown strategy 'luck'", [EASY, "--strategy", "luck"]),
        ("the prompt is empty", [" "]),
        ("just one of PROMPT and --prompts", []),
        ("no file nothing.txt", ["--prompts", "nothing.txt"]),
        ("below one candidate, which costs 4 here; give at least 4", [EASY, "--budget", "3", "--steps", "2"]),
        ("seed is -1", [EASY, "--seed", "-1"]),
        ("cannot write to the output folder", [EASY, "--output", "/proc/here"]),
        ("unknown dtype 'int3'", [EASY, "--dtype", "int3"]),
        ("is not a scene", ["cats on", "--judge", "emoji-detector"]),
    ],
)
def test_bad_input_to_search(fails, message, arguments):
    fails(message, "search", *arguments)


def test_search_twice_and_with_other_arguments(samplesmith, fails, tmp_path):
    arguments = ["search", EASY, "--candidates", "3", "--steps", "2", "--batch-size", "2", "--output", "out"]
    arguments += ["--judge", "emoji-detector"]
    first = samplesmith(*arguments, "--json")
    assert first.returncode == 0, first.stderr
    summary = json.loads(first.stdout)
    assert summary["ledger"]["nfe"] == 12
    assert [row["k"] for row in summary["best_of"]] == [1, 2]
    assert {file.name for file in (tmp_path / "out").iterdir()} >= {"contact_sheet.png", "best.png", "records.jsonl"}
    again = samplesmith(*arguments)
    assert again.returncode == 0
    assert "12 NFEs" in again.stdout
    fails("num_candidates was 3, now 4", *arguments, "--candidates", "4")
    (tmp_path / "out/records.jsonl").write_text("nonsense\n")
    fails("is no record", *arguments)


def test_halving(samplesmith, fails, tmp_path):
    arguments = ["search", EASY, "--candidates", "4", "--steps", "4", "--output", "out", "--judge", "emoji-detector"]
    run = samplesmith(*arguments, "--strategy", "halving:rungs=[2],keep=0.25", "--json")
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)
    assert summary["ledger"]["nfe"] == 2 * (4 * 2 + 1 * 2)
    assert "best_of" not in summary
    records = [json.loads(line) for line in (tmp_path / "out/records.jsonl").read_text().splitlines()]
    assert [record["steps_done"] for record in records] == [2] * 4 + [4]
    table = samplesmith(*arguments, "--strategy", "halving:rungs=[2],keep=0.25")
    assert "20 NFEs" in table.stdout
    fails("halving has no setting 'eta'", *arguments, "--strategy", "halving:eta=2")


def test_prompts_file(samplesmith, fails, tmp_path):
    (tmp_path / "prompts.txt").write_text("# two\n\na star on blue\na cat on pink\n")
    run = samplesmith("search", "--prompts", "prompts.txt", "--candidates", "1", "--steps", "1", "--json")
    assert [row["prompt"] for row in json.loads(run.stdout)["best"]] == ["a star on blue", "a cat on pink"]
    (tmp_path / "empty.txt").write_text("\n")
    fails("holds no prompt", "search", "--prompts", "empty.txt")


def test_sample_then_score(samplesmith, fails, tmp_path):
    run = samplesmith("sample", EASY, "--num-images", "2", "--steps", "2", "--output", "out", "--json")
    assert run.returncode == 0, run.stderr
    files = json.loads(run.stdout)["files"]
    assert [Image.open(tmp_path / file).size for file in files] == [(128, 128)] * 2
    scores = json.loads(samplesmith("score", "out", "--prompt", EASY, "--json").stdout)
    assert len(scores) == 2
    assert all(-1 <= row["score"] <= 1 for row in scores)
    (tmp_path / "out/torn.png").write_bytes(b"\x89PNG nothing")
    fails("torn.png cannot be read", "score", "out", "--prompt", EASY)
    fails("no images", "score", "nowhere")
    fails("--num-images is 0", "sample", EASY, "--num-images", "0")


def test_the_command_line_and_the_library_find_the_same(samplesmith, emoji_pipe, emoji_clip):
    from samplesmith import assets
    from samplesmith.pipelines import NoiseSearch

    run = samplesmith("search", EASY, "--candidates", "3", "--steps", "3", "--seed", "5", "--json")
    (best,) = json.loads(run.stdout)["best"]
    defaults = {**assets.call_defaults("emoji-sd3"), "num_inference_steps": 3}
    result = NoiseSearch(emoji_pipe, emoji_clip)(EASY, num_candidates=3, seed=5, progress=False, **defaults)
    assert result.best[0].seed == best["seed"]
    assert result.best[0].score == pytest.approx(best["score"], abs=1e-4)


def test_models_and_help(samplesmith):
    names = {row["name"] for row in json.loads(samplesmith("models", "--json").stdout)}
    assert {"emoji-sd3", "emoji-clip", "emoji-detector", "emoji-aesthetic"} <= names
    for command in ("search", "sample", "score", "models"):
        run = samplesmith(command, "--help")
        assert run.returncode == 0
        assert "Example:" in run.stdout


def test_all_candidates_failed_is_exit_1(samplesmith, monkeypatch):
    """A guide that cannot read the pictures loses every candidate: said, recorded, exit code 1."""

    def broken(*args, **kwargs):
        raise RuntimeError("out of order")

    monkeypatch.setattr("samplesmith.verifiers.CLIPVerifier.score", broken)
    run = samplesmith("search", EASY, "--candidates", "2", "--steps", "1")
    assert run.returncode == 1
    assert "emoji-clip raised RuntimeError: out of order" in " ".join(run.stderr.split())
    assert "every candidate failed" in run.stderr


def test_the_installed_command():
    """As a process of its own: what stands on stdout is JSON alone, also when a bar and loaders would like to write."""
    command = [sys.executable, "-m", "samplesmith", "search", EASY, "--candidates", "1", "--steps", "1", "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["best"][0]["seed"] == 0
