"""`samplesmith search` as a user meets it: bad input is exit code 2 and one sentence, never a trace."""

import json

import pytest
from samplesmith import assets
from samplesmith.verifiers import CLIPVerifier, DetectorVerifier

EASY = "a star on blue"


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("unknown word 'dragon' in the prompt; known objects: cat", ["a dragon on blue"]),
        (
            "emoji-clip-preview was trained before the captions had '5'; write a full caption",
            ["5 fish on pink", "--verifier", "emoji-clip-preview"],
        ),
        ("unknown model 'emoji-sd9'", [EASY, "--model", "emoji-sd9"]),
        ("unknown verifier 'emoji-clop'", [EASY, "--verifier", "emoji-clop"]),
        ("unknown strategy 'luck'", [EASY, "--strategy", "luck"]),
        ("the prompt is empty", [" "]),
        ("just one of PROMPT and --prompts", []),
        ("no file nothing.txt", ["--prompts", "nothing.txt"]),
        ("below one candidate, which costs 4 here; give at least 4", [EASY, "--budget", "3", "--steps", "2"]),
        ("seed is -1", [EASY, "--seed", "-1"]),
        ("cannot write to the folder /proc/here", [EASY, "--output", "/proc/here"]),
        ("unknown dtype 'int3'", [EASY, "--dtype", "int3"]),
        ("is not a scene", ["cats on", "--judge", "emoji-detector"]),
        ("height is -64; give a whole number of at least 1", [EASY, "--height", "-64"]),
        ("width is 0", [EASY, "--width", "0"]),
        ("steps is 0", [EASY, "--steps", "0"]),
        ("batch_size is 0", [EASY, "--batch-size", "0"]),
        ("seed is 99999999999999999999; give at most", [EASY, "--seed", "99999999999999999999"]),
        ("guidance_scale is nan", [EASY, "--guidance-scale", "nan"]),
        ("stop_at is nan", [EASY, "--stop-at", "nan"]),
        ("device is 'cudda', which cannot be used here", [EASY, "--device", "cudda"]),
        (
            "someone/model is not a shipped model and brings no guide; name one by --verifier",
            [EASY, "--model", "someone/model"],
        ),
        (
            "emoji-clip cannot read the prompt: unknown word 'dragon'",
            ["a dragon", "--model", "someone/model", "--verifier", "emoji-clip"],
        ),
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


def test_another_scheduler(samplesmith, fails):
    arguments = ["search", EASY, "a cat on pink", "--candidates", "2", "--steps", "2", "--json"]
    plain = json.loads(samplesmith(*arguments).stdout)["best"]
    run = samplesmith(*arguments, "--scheduler", "flow-sde:diffusion=square,norm=3")
    assert run.returncode == 0, run.stderr
    noisy = json.loads(run.stdout)["best"]
    assert [row["prompt"] for row in noisy] == [EASY, "a cat on pink"]
    assert [row["score"] for row in noisy] != [row["score"] for row in plain]
    fails("flow-sde has no setting 'g'; known: num_train_timesteps", *arguments, "--scheduler", "flow-sde:g=2")
    fails("DDIMScheduler cannot stand in for FlowMatchEulerDiscreteScheduler", *arguments, "--scheduler", "ddim")


def test_prompts_file(samplesmith, fails, tmp_path):
    (tmp_path / "prompts.txt").write_text("# two\n\na star on blue\na cat on pink\n")
    run = samplesmith("search", "--prompts", "prompts.txt", "--candidates", "1", "--steps", "1", "--json")
    assert [row["prompt"] for row in json.loads(run.stdout)["best"]] == ["a star on blue", "a cat on pink"]
    (tmp_path / "empty.txt").write_text("\n")
    fails("holds no prompt", "search", "--prompts", "empty.txt")


def test_the_command_line_and_the_library_find_the_same(samplesmith, emoji_pipe, emoji_clip):
    from samplesmith.pipelines import NoiseSearch

    run = samplesmith("search", EASY, "--candidates", "3", "--steps", "3", "--seed", "5", "--json")
    (best,) = json.loads(run.stdout)["best"]
    defaults = {**assets.call_defaults("emoji-sd3"), "num_inference_steps": 3}
    result = NoiseSearch(emoji_pipe, emoji_clip)(EASY, num_candidates=3, seed=5, progress=False, **defaults)
    assert result.best[0].seed == best["seed"]
    assert result.best[0].score == pytest.approx(best["score"], abs=1e-4)


def strict(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


def test_json_is_valid_whatever_fails(samplesmith, monkeypatch, tmp_path):
    """A lost candidate, a judge that gives nothing, several guides: null, and why."""
    original = CLIPVerifier.score

    def flaky(self, images, prompts, previews=None):
        scores = original(self, images, prompts, previews).clone()
        scores[0] = float("nan")
        return scores

    def dumb(self, *_):
        raise RuntimeError("the answer is prose")

    arguments = ["search", EASY, "--candidates", "3", "--steps", "1", "--batch-size", "3", "--json"]
    plain = strict(samplesmith(*arguments, "--verifier", "emoji-clip", "--verifier", "emoji-aesthetic").stdout)
    assert plain["best"][0]["mean_score"] is None
    monkeypatch.setattr(DetectorVerifier, "score", dumb)
    run = samplesmith(*arguments, "--judge", "emoji-detector", "--output", "out")
    assert run.returncode == 0
    found = strict(run.stdout)
    assert found["best_of"] is None
    assert "3 of 3 candidates have no score of emoji-detector" in found["best_of_reason"]
    assert found["best"][0]["scores"]["emoji-detector"] is None
    assert found["best"][0]["missing"] == {"emoji-detector": "emoji-detector raised RuntimeError: the answer is prose"}
    table = samplesmith(*arguments[:-1], "--judge", "emoji-detector", "--output", "out")
    assert table.returncode == 0
    assert "3 of 3 candidates have no score of emoji-detector: emoji-detector raised" in " ".join(table.stderr.split())
    monkeypatch.setattr(CLIPVerifier, "score", flaky)
    lost = strict(samplesmith(*arguments).stdout)
    assert lost["best"][0]["failed"] == 1


def test_the_numbers_are_printed_whatever_happens_to_the_folder(samplesmith, monkeypatch):
    def full(self, folder):
        raise OSError("no space left on device")

    monkeypatch.setattr("samplesmith.pipelines.SearchResult.save", full)
    run = samplesmith("search", EASY, "--candidates", "1", "--steps", "1", "--output", "out", "--json")
    assert run.returncode == 2
    assert json.loads(run.stdout)["best"][0]["seed"] == 0
    assert "no space left" in run.stderr


def test_all_candidates_failed_is_exit_1(samplesmith, monkeypatch):
    """A guide that cannot read the pictures loses every candidate: said, recorded, exit code 1."""

    def broken(*args, **kwargs):
        raise RuntimeError("out of order")

    monkeypatch.setattr("samplesmith.verifiers.CLIPVerifier.score", broken)
    run = samplesmith("search", EASY, "--candidates", "2", "--steps", "1")
    assert run.returncode == 1
    assert "emoji-clip raised RuntimeError: out of order" in " ".join(run.stderr.split())
    assert "every candidate failed (emoji-clip raised RuntimeError: out of order)" in " ".join(run.stderr.split())
    assert "with --output a rerun tries them again" in " ".join(run.stderr.split())
