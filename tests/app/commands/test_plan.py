"""`samplesmith plan` as a user meets it."""

import json
import sys

import numpy as np
import pytest
from PIL import Image
from samplesmith.evaluation.planning import plan_budget

ROW = {"num_inference_steps": 4, "nfe": 8, "score": [0.5, 0.6], "success": [0.4, 0.6]}
CALIBRATION = {
    "pipeline": "Pipe",
    "scheduler": "Euler",
    "guidance_scale": 3.0,
    "verifier": "guide",
    "judge": "judge",
    "prompts": 20,
    "steps": [ROW],
}
RUN = {
    "pipeline": "Pipe",
    "scheduler": "Euler",
    "verifier": "guide",
    "judge": "judge",
    "arguments": {"guidance_scale": 3.0},
}


@pytest.fixture
def rows(tmp_path):
    """A search of 20 prompts in `out`, and files beside it; the command runs in their folder."""
    rng = np.random.default_rng(0)
    rows = []
    for i, chance in enumerate(rng.beta(1, 2, 20)):
        for right in (rng.random(8) < chance).tolist():
            scores = {"guide": right + float(rng.normal()), "judge": float(right)}
            rows.append({"prompt_index": i, "strategy": "random", "nfe": 8, "scores": scores})
    (tmp_path / "out").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "out/records.jsonl").write_text(text + '{"torn": ')
    (tmp_path / "out/run.json").write_text(json.dumps(RUN))
    (tmp_path / "alone.jsonl").write_text(text)
    (tmp_path / "bad.jsonl").write_text(text + "[]\n")
    (tmp_path / "c.json").write_text(json.dumps(CALIBRATION))
    (tmp_path / "other.json").write_text(json.dumps(CALIBRATION | {"scheduler": "Heun"}))
    return rows


def test_a_plan_of_a_folder(samplesmith, rows):
    run = samplesmith("plan", "out", "--target", 0.7, "--seed", 3, "--json")
    assert run.returncode == 0, run.stderr
    expected = plan_budget(rows, "guide", "judge", 0.7, seed=3)
    assert json.loads(run.stdout) == json.loads(json.dumps(expected.as_dict()))
    shown = " ".join(samplesmith("plan", "out", "--target", 0.7, "--seed", 3).stdout.split())
    assert str(expected) in shown
    assert str(expected.points[7].guided) in shown


def test_records_alone_need_a_judge_and_know_the_guide(samplesmith, rows, fails):
    fails("the records have no judge; search with --judge, or name by --judge", "plan", "alone.jsonl")
    run = samplesmith("plan", "alone.jsonl", "--judge", "judge", "--json")
    assert json.loads(run.stdout)["guide"] == "guide"


def test_a_budget_is_spent_by_the_calibration(samplesmith, rows):
    run = samplesmith("plan", "out", "--budget", 16, "--calibration", "c.json", "--json")
    found = json.loads(run.stdout)["allocation"]
    assert (found["num_inference_steps"], found["candidates"], found["nfe"]) == (4, 2, 16)
    text = samplesmith("plan", "out", "--budget", 16, "--calibration", "c.json").stdout
    assert "16 NFEs buy most as 2 candidates of 4 steps" in text


def test_a_plot(samplesmith, rows, tmp_path, monkeypatch, fails):
    run = samplesmith("plan", "out", "--plot", "pictures/plan.png")
    assert run.returncode == 0, run.stderr
    with Image.open(tmp_path / "pictures/plan.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert min(pixels.shape[:2]) > 500
    assert (pixels < 128).any(2).mean() > 0.005
    fails("Format 'odd' is not supported", "plan", "out", "--plot", "plan.odd")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    fails("a plot needs matplotlib: pip install 'samplesmith[eval]'", "plan", "out", "--plot", "plan.png")


@pytest.mark.parametrize(
    ("message", "arguments"),
    [
        ("no records in nowhere", ["nowhere"]),
        ("line 161 of bad.jsonl is no record", ["bad.jsonl"]),
        ("the target is 80", ["out", "--target", 80]),
        ("no score 'taste'", ["out", "--guide", "taste"]),
        ("no candidate is right", ["out", "--success-at", 2]),
        ("seed is -1", ["out", "--seed", -1]),
        ("--budget and --calibration go together", ["out", "--budget", 100]),
        ("no calibration none.json", ["out", "--budget", 100, "--calibration", "none.json"]),
        ("of the scheduler 'Heun', not 'Euler'", ["out", "--budget", 100, "--calibration", "other.json"]),
        ("give at least 8", ["out", "--budget", 5, "--calibration", "c.json"]),
    ],
)
def test_bad_input(fails, rows, message, arguments):
    fails(message, "plan", *arguments)


def test_help_has_an_example(samplesmith):
    assert "Example:" in samplesmith("plan", "--help").stdout
