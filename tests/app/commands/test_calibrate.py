"""`samplesmith calibrate`, and the searches that read what it wrote, as a user meets them."""

import json

import pytest
from PIL import Image
from samplesmith import assets
from samplesmith.pipelines.search.calibration import Calibration

EASY = "a star on blue"


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "prompts.txt").write_text(f"{EASY}\na cat on pink\n")


def test_calibrate_then_search_by_it(samplesmith, fails, prompts, tmp_path):
    arguments = ["calibrate", "--prompts", "prompts.txt", "--judge", "emoji-detector", "--steps", "3, 1"]
    arguments += ["--candidates", 3, "--output", "out"]
    run = samplesmith(*arguments, "--json")
    assert run.returncode == 0, run.stderr
    table = Calibration.load(tmp_path / "out/calibration.json")
    assert json.loads(run.stdout)["verifier"] == table.verifier == "emoji-clip"
    assert [(row.num_inference_steps, row.nfe, len(row.score)) for row in table.steps] == [(1, 2, 3), (3, 6, 3)]
    assert [(row.num_inference_steps, row.step) for row in table.previews] == [(1, 1), (3, 1), (3, 2), (3, 3)]
    assert Image.open(tmp_path / "out/calibration.png").size[0] > 1000
    again = samplesmith(*arguments)
    assert again.returncode == 0
    assert "2 prompts" in again.stdout
    assert "linear preview for `steer --preview latent:file=out/latent_preview.safetensors`" in " ".join(
        again.stdout.split()
    )

    auto = ["search", EASY, "--steps", "auto", "--calibration", "out/calibration.json", "--budget", 6]
    run = samplesmith(*auto, "--json")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert found["allocation"]["nfe"] == found["ledger"]["nfe"] <= 6
    assert "the calibration chose" in samplesmith(*auto).stdout
    scale = assets.call_defaults("emoji-sd3")["guidance_scale"]
    fails(f"of the guidance scale {scale}, not 5.0", *auto, "--guidance-scale", 5)
    fails("below one candidate, which costs 2 at 1 steps", *auto[:-1], 1)
    fails("divide a budget into steps and candidates", *auto[:-2])


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("--steps is '5;8'; give whole numbers such as 5,8,12,28", ["--steps", "5;8"]),
        ("steps are [0]", ["--steps", "0"]),
        ("candidates is 1", ["--candidates", 1]),
        ("no file nothing.txt", ["--prompts", "nothing.txt"]),
        ("unknown verifier 'emoji-clop'", ["--verifier", "emoji-clop"]),
        ("the settings of --argument, 'clip_skip', cannot be read", ["--argument", "clip_skip"]),
    ],
)
def test_bad_input(fails, prompts, message, arguments):
    fails(message, "calibrate", "--prompts", "prompts.txt", *arguments)


def test_bad_steps_of_a_search(fails):
    fails("--steps is 'few'; give a whole number of at least 1, or auto", "search", EASY, "--steps", "few")
    fails("steps is 0", "search", EASY, "--steps", "0")
    fails("no calibration nothing.json", "search", EASY, "--steps", "auto", "--calibration", "nothing.json")


def test_help_has_an_example(samplesmith):
    assert "Example:" in samplesmith("calibrate", "--help").stdout
