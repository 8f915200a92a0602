"""The arms of benchmarks/search_scaling.py, on pools with known answers."""

import importlib.util
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import samplesmith
from fakes import Brightness
from samplesmith.evaluation.scaling import best_of
from samplesmith.pipelines.search.calibration import Calibration, StepCount
from samplesmith.samplers.strategies import Halving
from samplesmith.verifiers import RankEnsemble


@pytest.fixture(scope="module")
def arms():
    file = Path(samplesmith.__file__).parent / "benchmarks/search_arms.py"
    spec = importlib.util.spec_from_file_location("search_arms", file)
    module = importlib.util.module_from_spec(spec)
    sys.modules["search_arms"] = module  # its data classes look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["search_arms"]


def pool(arms, steps, noise, prompts=6, candidates=8, scale=1.0):
    """The guide sees the truth with some noise; success is a high truth."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(prompts, candidates))
    features = rng.normal(size=(prompts, candidates, 5))
    scores = {
        "score": truth + noise * rng.normal(size=truth.shape),
        "success": (truth > 0.5).astype(float),
        "aesthetic": -truth,
    }
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    return arms.Pool(steps, 2 * steps, 0.1 * steps * scale, scores, features)


def test_random_is_best_of_k_of_the_records(arms):
    one = pool(arms, 4, 0.5)
    records = [
        {"prompt_index": i, "scores": {name: float(values[i, k]) for name, values in one.scores.items()}}
        for i in range(6)
        for k in range(8)
    ]
    for k in (1, 3, 8):
        row = arms.select("random", arms.by("score"), one, k, 64)
        expected = best_of(records, [k], "score", "success")[0]
        assert row.values["score"].mean() == pytest.approx(expected.score.mean)
        assert row.values["success"].mean() == pytest.approx(expected.success.mean)
        assert (row.candidates, row.nfe, row.seconds) == (k, 8 * k, pytest.approx(0.4 * k))
        oracle = arms.select("oracle", arms.by("success"), one, k, 64).values["success"].mean()
        assert oracle == pytest.approx(expected.oracle.mean)
        assert np.isfinite(row.values["diversity"]).all() == (k <= 4)
        assert (row.as_dict()["diversity"] is None) == (k > 4)


def test_a_pool_that_is_too_small_is_spent_whole(arms):
    row = arms.select("random", arms.by("score"), pool(arms, 4, 0.5), 100, 800)
    assert (row.candidates, row.nfe, row.budget) == (8, 64, 800)


def test_drafts_choose_by_few_steps_and_are_made_again(arms):
    draft, full = pool(arms, 2, 0.0), pool(arms, 10, 5.0)
    row = arms.select("drafts", arms.by("score"), draft, 8, 100, made=full)
    best = draft.scores["score"].argmax(1)
    assert row.values["score"] == pytest.approx(full.scores["score"][np.arange(6), best])
    assert (row.steps, row.nfe, row.seconds) == (10, 8 * 4 + 20, pytest.approx(8 * 0.2 + 1.0))


def test_ranks_choose_as_the_ensemble_does(arms):
    ensemble = RankEnsemble([Brightness("a"), Brightness("b")], weights=[1, 3])
    chooser = arms.by_ranks(ensemble, ("score", "aesthetic"))
    scores = {"score": np.array([3.0, 1.0, 2.0]), "aesthetic": np.array([1.0, 3.0, 2.0])}
    assert chooser(scores, 3).tolist() == [0, 1, 0]
    # Of two the second score decides alone, as its weight is the larger: 0 never wins, 1 wins two of three draws.
    assert chooser(scores, 2) == pytest.approx([0, 2 / 3, 1 / 3])
    assert chooser(scores, 1) == pytest.approx(np.full(3, 1 / 3))


def test_subsets_are_drawn_where_they_are_too_many(arms):
    scores = {"score": np.arange(20.0), "aesthetic": np.arange(20.0)}
    ensemble = RankEnsemble([Brightness("a"), Brightness("b")])
    chances = arms.by_ranks(ensemble, ("score", "aesthetic"))(scores, 4)
    assert chances.sum() == pytest.approx(1)
    assert chances @ scores["score"] == pytest.approx(4 / 5 * 21 - 1, abs=0.6)  # E max of 4 of 0..19


def test_auto_and_what_is_read_from_the_rows(arms):
    pools = {4: pool(arms, 4, 0.1, scale=0.5), 8: pool(arms, 8, 0.1)}
    steps = (StepCount(4, 8, (0.4, 0.6, 0.7, 0.8)), StepCount(8, 16, (0.5, 0.7)))
    calibration = Calibration("Pipe", "Euler", 3.0, "guide", None, 6, steps)
    auto = arms.auto_row("auto", pools, calibration, "score", 32)
    assert (auto.steps, auto.candidates, auto.nfe) == (4, 4, 32)
    rows = [arms.select("random", arms.by("score"), pools[n], 32 // (2 * n), 32) for n in (4, 8)]
    best, default = arms.compare([*rows, auto], default_steps=8)
    assert (best["rival steps"], best["score"]) == (4, {"mean": 0, "low": 0, "high": 0})
    assert default["rival steps"] == 8
    gain = (auto.values["score"] - rows[1].values["score"]).mean()
    assert default["score"]["mean"] == pytest.approx(gain)
    assert gain > 0
    planned = partial(arms.auto_row, "auto", pools, calibration, "score")
    cheapest = arms.cheapest(planned, range(8, 33, 8), rows[1], "score")
    assert cheapest["score"]["mean"] >= 0
    assert cheapest["share of NFEs"] == cheapest["budget"] / 32 == 0.5
    assert cheapest["share of seconds"] == pytest.approx(0.25)
    assert arms.cheapest(lambda budget: None, range(8, 33, 8), rows[1], "score") is None


def with_looks(one, early):
    """A pool whose guide has scored the clean predictions after two steps."""
    return replace(one, scores={**one.scores, "score at 2": early}, look_seconds=0.05)


def test_halving_chooses_the_best_finished_of_the_early_best(arms):
    chooser = arms.by_halving(Halving(rungs=[2], keep=0.5), "early", "late")
    scores = {"early": np.array([4.0, 3.0, 2.0, 1.0]), "late": np.array([1.0, 2.0, 3.0, 4.0])}
    assert chooser(scores, 4).tolist() == [0, 1, 0, 0]  # 0 and 1 are finished
    assert chooser(scores, 2) == pytest.approx(np.array([3, 2, 1, 0]) / 6)  # the first of each pair alone
    equal = {"early": np.zeros(4), "late": np.array([1.0, 1.0, 5.0, 5.0])}
    assert chooser(equal, 4).tolist() == [1, 0, 0, 0]


def test_a_row_of_halving(arms):
    """With a perfect early score it is best-of-n at its reduced cost."""
    one, halving = pool(arms, 8, 0.3), Halving(rungs=[2], keep=0.25)
    perfect = with_looks(one, one.scores["score"])
    row = arms.halving_row("halving", halving, perfect, "score", 4 * 16, lambda n: 0.5 + 0.1 * n)
    # Eight start with 4 NFEs each, two go on for 12 each.
    assert (row.candidates, row.nfe, row.budget, row.steps) == (8, 8 * 4 + 2 * 12, 64, 8)
    assert row.seconds == pytest.approx(8 * (0.2 + 0.05) + 2 * (0.5 + 0.6))
    best = arms.select("random", arms.by("score"), one, 8, 128)
    assert row.values["success"] == pytest.approx(best.values["success"])
    useless = arms.halving_row(
        "halving", halving, with_looks(one, -one.scores["score"]), "score", 4 * 16, lambda steps: 0.0
    )
    assert useless.values["score"].mean() < row.values["score"].mean() - 0.5
    assert arms.halving_row("halving", halving, perfect, "score", 15, lambda steps: 0.0) is None


def test_auto_halving_takes_autos_steps_and_spending(arms):
    one = pool(arms, 8, 0.1)
    pools = {8: with_looks(one, one.scores["score"])}
    calibration = Calibration("Pipe", "Euler", 3.0, "guide", None, 6, (StepCount(8, 16, (0.5, 0.6, 0.7)),))
    halvings = {8: Halving(rungs=[2])}
    row = arms.auto_halving_row("auto-halving", pools, calibration, halvings, "score", 60, lambda steps: 0.0)
    assert (row.arm, row.steps, row.budget, row.nfe) == ("auto-halving", 8, 60, 7 * 4 + 12)
    plain = arms.auto_halving_row("auto-halving", pools, calibration, {}, "score", 60, lambda steps: 0.0)
    assert (plain.arm, plain.candidates, plain.nfe) == ("auto-halving", 3, 48)


def test_share_of_the_oracles_gain(arms):
    good, blind = pool(arms, 4, 0.0), pool(arms, 8, 1e6)
    choosers = {"random": arms.by("score"), "aesthetic": arms.by("aesthetic"), "oracle": arms.by("success")}
    found = arms.share_of_oracle([good, blind], choosers, 8)
    assert found["random, 4 steps"] == pytest.approx(1)
    assert found["aesthetic, 4 steps"] < 0 < 1
    assert found["random, 8 steps"] < 0.9
    assert arms.share_of_oracle([good], choosers, 9) == {}
