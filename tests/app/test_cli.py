"""The command line as a user meets it: bad input is exit code 2 and one sentence, never a trace."""

import json
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
import torch
import toys
from PIL import Image
from samplesmith import assets
from samplesmith.app import options
from samplesmith.app.options import prompts_in
from samplesmith.verifiers import CLIPVerifier, DetectorVerifier

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
        ("cannot write to the folder /proc/here", [EASY, "--output", "/proc/here"]),
        ("unknown dtype 'int3'", [EASY, "--dtype", "int3"]),
        ("is not a scene", ["cats on", "--judge", "emoji-detector"]),
        ("--height is -64; give at least 1", [EASY, "--height", "-64"]),
        ("--width is 0", [EASY, "--width", "0"]),
        ("--steps is '0'", [EASY, "--steps", "0"]),
        ("--batch-size is 0", [EASY, "--batch-size", "0"]),
        ("--seed is 99999999999999999999; give at least 0 and at most", [EASY, "--seed", "99999999999999999999"]),
        ("--guidance-scale is nan", [EASY, "--guidance-scale", "nan"]),
        ("--stop-at is nan", [EASY, "--stop-at", "nan"]),
        ("--device is 'cudda', which cannot be used here", [EASY, "--device", "cudda"]),
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
    fails("no folder nowhere", "score", "nowhere", "--prompt", EASY)
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


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
def test_devices_that_are_not_here(fails):
    for command in (["search", EASY], ["sample", EASY], ["web"]):
        fails("--device is 'cuda', which cannot be used here", *command, "--device", "cuda")
        fails("--offload moves parts to a GPU, and there is none here", *command, "--offload")


def test_the_page_at_an_odd_address(fails):
    fails("--port is 99999; give a number from 1 to 65535", "web", "--port", "99999")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        fails("the page cannot be opened at 127.0.0.1", "web", "--port", taken.getsockname()[1])


class TestPictures:
    """`score` reads what a folder holds as a viewer shows it, one picture at a time."""

    def test_subfolders_and_formats(self, samplesmith, tmp_path):
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        names = ["a.png", "b/c.bmp", "b/d/e.avif", "f.gif", "[/red].tiff"]
        for name in names:
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "in" / name)
        run = samplesmith("score", "in", "--prompt", EASY, "--json")
        assert run.returncode == 0, run.stderr
        found = {row["file"]: row["score"] for row in json.loads(run.stdout)}
        assert set(found) == {f"in/{name}" for name in names}
        assert found["in/a.png"] == pytest.approx(found["in/b/c.bmp"], abs=1e-6)
        table = samplesmith("score", "in", "--prompt", EASY).stdout
        assert all(name in table for name in names)

    def test_a_prompt_is_asked_for_where_the_verifier_reads_it(self, samplesmith, fails, tmp_path):
        Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
        fails("emoji-clip compares images with a prompt; say by --prompt", "score", ".")
        assert samplesmith("score", ".", "--verifier", "emoji-aesthetic").returncode == 0
        fails("emoji-clip cannot read the prompt: unknown word 'photo'", "score", ".", "--prompt", "a photo of a cat")

    def test_what_cannot_be_read_is_named(self, fails, tmp_path):
        files = {
            "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            "bomb.png": _huge_png(),
            "torn.jpg": b"\xff\xd8\xff",
        }
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            fails(f"{name}", "score", ".", "--prompt", EASY)
            (tmp_path / name).unlink()

    @pytest.mark.slow
    def test_many_photos_take_bounded_memory(self, tmp_path):
        """Twelve pictures of 12 megapixels are 430 MB in 8 bits and 1.7 GB as floats."""
        photo = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        for k in range(12):
            Image.fromarray(np.roll(photo, k, 0)).resize((4000, 3000)).save(tmp_path / f"{k}.jpg")
        code = (
            "import resource, sys, samplesmith.evaluation; from samplesmith.app import cli\n"
            "__import__('samplesmith').verifiers.load_verifier('emoji-clip')\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            f"sys.argv = ['samplesmith', 'score', {str(tmp_path)!r}, '--prompt', {EASY!r}]\n"
            "try: cli.main()\n"
            "except SystemExit as end: assert not end.code\n"
            "print('MB', (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)\n"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        assert int(run.stdout.split("MB")[-1]) < 900


def _huge_png():
    """A picture of 40,000 x 40,000 pixels by its header."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


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

    @pytest.mark.parametrize(
        ("data", "found"),
        [
            (b"\xef\xbb\xbfa cat\r\na dog\r\n", ["a cat", "a dog"]),
            (b"# three\n#1 dad mug\n#\n  # note\n#tags\n", ["#1 dad mug", "#tags"]),
            ("a caf\u00e9\u2028at night\x85\n\n".encode(), ["a caf\u00e9\u2028at night"]),
            (b"a cat\ra dog", ["a cat", "a dog"]),
        ],
    )
    def test_prompts_in_a_file(self, tmp_path, data, found):
        (tmp_path / "p.txt").write_bytes(data)
        assert prompts_in(tmp_path / "p.txt") == found

    @pytest.mark.parametrize("data", ["a cat\n".encode("utf-16"), b"a caf\xe9\n", "a cat\n".encode("utf-16-le")])
    def test_files_that_are_not_in_utf_8(self, fails, tmp_path, data):
        (tmp_path / "p.txt").write_bytes(data)
        fails("UTF-8; save it in this encoding", "search", "--prompts", "p.txt")


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
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        records = tmp_path / "out/records.jsonl"
        while not (records.exists() and records.read_text().count("\n") >= 2):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "what is recorded in out is kept" in said
        kept = records.read_text()
        run = samplesmith(*arguments)
        assert run.returncode == 0, run.stderr
        assert records.read_text().startswith(kept)
        assert records.read_text().count("\n") == 6


def test_models_are_named_in_full_in_a_narrow_terminal(samplesmith, monkeypatch):
    monkeypatch.setattr(options.console, "_width", 80)
    table = samplesmith("models").stdout
    for name in assets.names():
        assert name in table


def test_a_folder_for_results_is_tried_before_they_are_paid_for(fails, tmp_path, monkeypatch):
    monkeypatch.setattr("samplesmith.pipelines.load", lambda *_: pytest.fail("loaded for nothing"))
    (tmp_path / "taken").write_text("")
    (tmp_path / "prompts.txt").write_text(EASY)
    for command in (["search", EASY], ["sample", EASY], ["calibrate", "--prompts", "prompts.txt"]):
        fails("cannot write to the folder taken (--output), name another", *command, "--output", "taken")


def test_the_numbers_are_printed_whatever_happens_to_the_folder(samplesmith, monkeypatch):
    def full(self, folder):
        raise OSError("no space left on device")

    monkeypatch.setattr("samplesmith.pipelines.SearchResult.save", full)
    run = samplesmith("search", EASY, "--candidates", "1", "--steps", "1", "--output", "out", "--json")
    assert run.returncode == 2
    assert json.loads(run.stdout)["best"][0]["seed"] == 0
    assert "no space left" in run.stderr


def test_models_says_what_a_pipeline_can_do(samplesmith):
    answers = json.loads(samplesmith("models", "--pipeline", "emoji-sd3", "--json").stdout)
    assert answers["pipeline"] == "StableDiffusion3Pipeline"
    assert set(answers["methods"].values()) == {None}
    table = samplesmith("models", "--pipeline", "fashion-ddpm")
    assert table.returncode == 0
    assert "halving" in table.stdout
    assert "no flow" in " ".join(table.stdout.split())
    nowhere = samplesmith("models", "--pipeline", "no/such/folder")
    assert nowhere.returncode == 2


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


def test_the_installed_command():
    """As a process of its own: what stands on stdout is JSON alone, also when a bar and loaders would like to write."""
    command = [sys.executable, "-m", "samplesmith", "search", EASY, "--candidates", "1", "--steps", "1", "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["best"][0]["seed"] == 0
