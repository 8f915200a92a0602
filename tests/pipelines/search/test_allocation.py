import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samplesmith.pipelines.search.allocation import best_allocation
from samplesmith.pipelines.search.calibration import Calibration, Preview, StepCount

TABLE = Calibration(
    pipeline="Pipe",
    scheduler="Euler",
    guidance_scale=3.0,
    verifier="guide",
    judge="judge",
    prompts=40,
    steps=(StepCount(4, 8, (0.5, 0.6, 0.65), (0.4, 0.6, 0.55)), StepCount(20, 40, (0.7, 0.8, 0.85), (0.7, 0.8, 0.9))),
    previews=(Preview(20, 5, 0.25, 0.72, 0.7), Preview(20, 10, 0.5, 0.8, 0.8), Preview(4, 2, 0.75, 0.6)),
)


@pytest.mark.parametrize(
    ("budget", "steps", "candidates", "nfe", "beyond"),
    [
        (8, 4, 1, 8, False),
        (39, 4, 2, 16, False),
        (40, 20, 1, 40, False),
        (119, 20, 2, 80, False),
        (400, 20, 10, 400, True),
    ],
)
def test_the_best_of_steps_and_candidates(budget, steps, candidates, nfe, beyond):
    """39 NFEs buy four candidates of 4 steps, of which the third only misleads the guide."""
    found = best_allocation(TABLE, budget)
    expected = (steps, candidates, nfe, beyond)
    assert (found.num_inference_steps, found.candidates, found.nfe, found.beyond) == expected


def test_by_score_all_affordable_candidates_are_taken():
    found = best_allocation(TABLE, 39, by="score")
    assert (found.num_inference_steps, found.candidates, found.nfe, found.score) == (4, 4, 32, 0.65)
    assert "at least" in str(found)


@given(st.integers(8, 500), st.integers(0, 200))
def test_never_above_the_budget_and_more_never_buys_less(budget, more):
    for by in ("score", "success"):
        first, second = best_allocation(TABLE, budget, by), best_allocation(TABLE, budget + more, by)
        assert first.nfe <= budget
        assert getattr(second, by) >= getattr(first, by)
        for row in TABLE.steps:
            if budget >= row.nfe:
                assert getattr(first, by) >= getattr(row, by)[min(3, budget // row.nfe) - 1]


def test_without_a_judge_the_score_decides():
    blind = replace(TABLE, judge=None, steps=(StepCount(4, 8, (0.5, 1.0)), StepCount(8, 16, (0.9, 0.95))))
    assert (best_allocation(blind, 16).score, best_allocation(blind, 16).success) == (1.0, None)


def test_saved_and_loaded(tmp_path):
    TABLE.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == TABLE
    values = json.loads((tmp_path / "c.json").read_text())
    del values["previews"]
    (tmp_path / "c.json").write_text(json.dumps(values))
    assert Calibration.load(tmp_path / "c.json") == replace(TABLE, previews=())


def test_correlations_of_a_run():
    assert TABLE.correlations(20) == {5: 0.25, 10: 0.5}
    assert TABLE.correlations(12) is None


def test_another_model_is_refused():
    TABLE.check(pipeline="Pipe", guidance_scale=3.0)
    with pytest.raises(ValueError, match=r"the calibration is of the guidance scale 3\.0, not 5; calibrate anew"):
        TABLE.check(pipeline="Pipe", guidance_scale=5)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("is no JSON", "{"),
        ("it has no 'steps'", "{}"),
        (
            "it has no steps",
            '{"steps": [], "pipeline": "", "scheduler": "", "guidance_scale": 1, "verifier": "", "judge": null, '
            '"prompts": 1}',
        ),
        ("not lists of rows", "[]"),
        ("it has no 'nfe'", '{"steps": [{"num_inference_steps": 1, "score": [1], "success": null}]}'),
        ("no positive cost", '{"steps": [{"num_inference_steps": 1, "nfe": 0, "score": [1], "success": null}]}'),
        ("no finite scores", '{"steps": [{"num_inference_steps": 1, "nfe": 1, "score": [NaN], "success": null}]}'),
        (
            "1 scores and 2 successes",
            '{"steps": [{"num_inference_steps": 1, "nfe": 1, "score": [1], "success": [1, 1]}]}',
        ),
        ("not lists of rows", '{"steps": [], "previews": 3}'),
        (
            "a preview has step 5 of 4",
            '{"steps": [], "previews": [{"num_inference_steps": 4, "step": 5, "rank_correlation": 0, "score": 0, '
            '"success": null}]}',
        ),
    ],
)
def test_a_file_that_is_no_calibration(tmp_path, message, text):
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        Calibration.load(tmp_path / "c.json")


def test_bad_requests(tmp_path):
    with pytest.raises(ValueError, match="budget of 7 NFEs is below one candidate, which costs 8 at 4 steps"):
        best_allocation(TABLE, 7)
    with pytest.raises(ValueError, match="by 'luck'"):
        best_allocation(TABLE, 8, by="luck")
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.load(tmp_path / "nothing.json")
    TABLE.save(tmp_path / "c.json")
    values = json.loads((tmp_path / "c.json").read_text()) | {"judge": None}
    (tmp_path / "c.json").write_text(json.dumps(values))
    with pytest.raises(ValueError, match="no judge; allocate by score"):
        best_allocation(Calibration.load(tmp_path / "c.json"), 8, by="success")
