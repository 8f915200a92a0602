"""`samplesmith superpose`: what it makes, writes and prints."""

import json

from PIL import Image

PAIR = ("a cat on pink", "two dogs on blue")


def test_pictures_record_sheet_and_plot(samplesmith, tmp_path):
    small = ["--steps", 3, "--num-images", 2]
    run = samplesmith("superpose", "with a cat", "on pink", "--judge", "emoji-detector", "--output", "out", *small)
    assert run.returncode == 0, run.stderr
    made = {str(file.relative_to(tmp_path / "out")) for file in (tmp_path / "out").rglob("*") if file.is_file()}
    pictures = {f"{folder}00{k}.png" for folder in ("", "mean/", "joint_prompt/") for k in (0, 1)}
    assert made == {*pictures, "contact_sheet.png", "traces.png", "superposition.json"}
    assert "joint prompt: with a cat on pink" in run.stdout
    assert "of 2 right" in run.stdout
    width, height = Image.open(tmp_path / "out/contact_sheet.png").size
    assert height > 1.5 * width * 2 / 3, "three rows of two"
    record = json.loads((tmp_path / "out/superposition.json").read_text())
    assert [one["right"] in (True, False) for one in record["judged"]] == [True, True]
    assert set(record["rivals"]) == {"mean", "joint prompt"}


def test_a_formula_alone_as_json(samplesmith):
    words = ["superpose", "--formula", '"with a cat" & ~"on blue"', "--alone", "--steps", 2, "--json"]
    run = samplesmith(*words)
    assert run.returncode == 0, run.stderr
    record = json.loads(run.stdout)
    assert record["folder"] == "outputs/superpose"
    assert record["nfe"] == 2 * 3
    assert record["rivals"] == {}


def test_what_cannot_be_is_one_sentence(fails):
    fails("give just one of prompts and formula", "superpose")
    fails("give just one of prompts and formula", "superpose", *PAIR, "--formula", '"a cat"')
    fails("a formula has its own operators", "superpose", "--formula", '"with a cat"', "--operator", "or")
    fails("unknown operator 'xor'; known: and", "superpose", *PAIR, "--operator", "xor")
    fails("1 weights for 2 prompts", "superpose", *PAIR, "--operator", "[0.7]")
    fails("superposition has no setting 'heat'; known: estimator", "superpose", *PAIR, "--setting", "heat=2")
    fails("the setting clamp is given twice", "superpose", *PAIR, "--setting", "clamp=2", "--setting", "clamp=3")
    fails("unknown word 'dragon'", "superpose", "a dragon on blue", PAIR[1])
    fails("num_images is 0", "superpose", *PAIR, "--num-images", "0")
