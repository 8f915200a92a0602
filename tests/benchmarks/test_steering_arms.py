"""The arms of benchmarks/steering_scaling.py, on rows with known answers."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import samplesmith
from samplesmith.samplers.by_name import check_scheduler
from samplesmith.samplers.strategies import make_strategy

FOLDER = Path(samplesmith.__file__).parent / "benchmarks"


@pytest.fixture(scope="module")
def arms():
    modules = {}
    for name in ("search_arms", "steering_arms"):
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        modules[name] = module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # their data classes and imports look each other up
        spec.loader.exec_module(module)
    yield modules["steering_arms"]
    for name in modules:
        del sys.modules[name]


def steered(arms, success, score=0.5, arm="rbf", budget=224, prompts=(0, 2)):
    setup = arms.Setup(arm, "PRECISE", 12, "guide")
    values = {"score": np.full(len(prompts), score), "success": np.asarray(success, float)}
    return arms.SteeredRow(arm, 12, budget, 9.0, budget, 1.0, np.array(prompts), values, setup, 9.0, 9.0)


def rival(arms, steps, score, arm="halving", nfe=224):
    values = {"preview": np.asarray(score, float), "score": np.zeros(3), "success": np.array([0.0, 1.0, 1.0])}
    return arms.Row(arm, steps, 224, 9.0, nfe, 1.0, np.arange(3), values)


def test_every_setting_that_is_tried_can_be_run(arms):
    assert all(make_strategy(one).name == name for name, tried in arms.SETTINGS.items() for one in tried)
    assert all(make_strategy(one) for one in arms.PROBES)
    for transition, spec in arms.TRANSITIONS.items():
        check_scheduler(spec)
        assert arms.Setup("rbf", transition, 12, "guide").scheduler == spec
    assert arms.Setup("rbf", "GLASS", 12, "guide").steps == 6
    assert arms.Setup("sop", arms.ODE, 12, "guide").scheduler is None


def test_the_choice_is_the_judges_and_the_guides_among_equals(arms):
    rows = {
        "liked": [steered(arms, [1, 0], 0.9)],
        "right": [steered(arms, [1, 1], 0.1)],
        "right, liked": [steered(arms, [1, 1], 0.2)],
    }
    assert arms.best_by_success(rows) == "right, liked"


def test_rivals_stand_at_their_best_number_of_steps_and_within_the_budget(arms):
    rows = [rival(arms, 8, [0.1, 0.9, 0.1]), rival(arms, 12, [0.2, 0.0, 0.2]), rival(arms, 28, [1, 1, 1], nfe=300)]
    prompts = np.array([0, 2])
    assert arms.best_rival(rows, "halving", 224, prompts, "preview").steps == 12
    assert arms.best_rival(rows, "auto", 224, prompts, "preview") is None
    (found,) = arms.against([steered(arms, [1, 1], 0.5)], rows, ["halving", "auto"], "preview")
    assert found["against"] == "halving"
    assert found["score"]["mean"] == pytest.approx(0.3), "by the guide that steered, on the same prompts"
    assert found["success"]["mean"] == pytest.approx(0.5)


def test_rows_say_what_they_cost_and_how_they_were_run(arms):
    row = steered(arms, [1, 0], prompts=(0, 1))
    found = row.as_dict()
    assert (found["prompts"], found["decodes"], found["setup"]["transition"]) == (2, 9.0, "PRECISE")
    assert found["success"]["mean"] == 0.5
    assert arms.summary(row)["setup"] == found["setup"]
    again = arms.against([row], [replace(row, arm="other")], ["other"], "score")
    assert again[0]["score"]["mean"] == 0
