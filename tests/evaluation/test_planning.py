"""Planning against closed forms: with success probabilities of Beta(a, b), pass@k is 1 - B(a, b + k) / B(a, b)."""

import json
from math import exp, inf, lgamma

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from samplesmith.evaluation.planning import Samples, plan_budget


def pass_at(k, a, b):
    return 1 - exp(lgamma(b + k) + lgamma(a + b) - lgamma(b) - lgamma(a + b + k))


def records(seed, chances, candidates, false_positives=0.0):
    """A random search whose guide takes every right candidate, and a share of the wrong ones."""
    rng = np.random.default_rng(seed)
    right = rng.random((len(chances), candidates)) < np.asarray(chances)[:, None]
    taken = right | (rng.random(right.shape) < false_positives)
    return [
        {"prompt_index": i, "nfe": 10, "scores": {"guide": float(taken[i, j]), "judge": float(right[i, j])}}
        for i, j in np.ndindex(*right.shape)
    ]


def test_the_need_of_an_oracle_is_covered_by_its_interval():
    """Inside the 16 candidates and beyond them, in at least 90 % of seeded repetitions."""
    for target in (0.5, 0.6):
        truth = next(k for k in range(1, 100) if pass_at(k, 0.3, 1.5) >= target)
        assert (truth > 16) == (target == 0.6)
        plans = []
        for seed in range(50):
            chances = np.random.default_rng(1000 + seed).beta(0.3, 1.5, 80)
            plans.append(plan_budget(records(seed, chances, 16), "judge", "judge", target, repeats=200, seed=seed))
        assert sum(plan.oracle.low <= truth <= plan.oracle.high for plan in plans) >= 45
        assert np.median([plan.oracle.number for plan in plans]) == pytest.approx(truth, rel=0.25)


def test_pass_at_k_and_its_extrapolation():
    chances = np.random.default_rng(0).beta(0.3, 1.5, 2000)
    plan = plan_budget(records(0, chances, 16), "judge", "judge", repeats=20)
    for point in plan.points:
        assert point.oracle.mean == pytest.approx(pass_at(point.k, 0.3, 1.5), abs=0.03)
    for k in (32, 64):
        assert plan.oracle_law(k) == pytest.approx(pass_at(k, 0.3, 1.5), abs=0.04)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_false_positives_end_in_their_plateau(rate):
    """Taken candidates are right in p of p + (1 - p) f draws, so that is where success ends; averaged over prompts."""
    chances = np.random.default_rng(1).beta(1, 3, 1500)
    plan = plan_budget(records(1, chances, 32, rate), "guide", "judge", 0.9, repeats=100)
    plateau = (chances / (chances + (1 - chances) * rate)).mean()
    assert plan.ceiling.mean == pytest.approx(plateau, abs=0.03)
    assert plan.guided == Samples(inf, inf, inf, 0)
    assert "90% of prompts is out of reach with guide; an oracle needs" in str(plan)
    assert 3 <= plan.enough.number <= 100
    assert "nothing is gained with this guide" in str(plan)
    before = plan_budget(records(1, chances, 32, rate), "guide", "judge", plateau - 0.1, repeats=100)
    assert before.oracle.number < before.guided.number < before.enough.number
    assert before.guided.reached == 1


def test_the_interval_of_the_ceiling_covers_it():
    population = np.random.default_rng(2).beta(0.5, 0.5, 200_000)
    plateau = (population / (population + (1 - population) * 0.2)).mean()
    covered = 0
    for seed in range(30):
        chances = np.random.default_rng(2000 + seed).beta(0.5, 0.5, 100)
        plan = plan_budget(records(seed, chances, 16, 0.2), "guide", "judge", repeats=100, seed=seed)
        covered += plan.ceiling.low <= plateau <= plan.ceiling.high
    assert covered >= 27


def test_a_hacked_guide_loses_beyond_its_peak():
    """A candidate in ten has a score above all and is wrong: three samples gain, sixteen lose."""
    rng = np.random.default_rng(3)
    rows = []
    for i in range(300):
        for _ in range(16):
            right, hack = rng.random() < 0.5, rng.random() < 0.1
            score = 2 + rng.random() if hack else right + 0.1 * rng.random()
            rows.append({"prompt_index": i, "nfe": 1, "scores": {"guide": score, "judge": float(right and not hack)}})
    plan = plan_budget(rows, "guide", "judge", repeats=200)
    # best-of-k is right where none is a hack and one is right: .9^k - .45^k: .608, .638, .615 at k = 2, 3, 4
    assert plan.peak.k in (2, 3, 4)
    assert plan.fall.mean == pytest.approx(0.9**3 - 0.45**3 - 0.9**16, abs=0.07)
    assert f"Beyond {plan.peak.k} samples it loses" in str(plan)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.5]), st.integers(4, 12))
def test_monotone_in_k_and_never_above_the_oracle(seed, rate, candidates):
    chances = np.random.default_rng(seed).beta(0.5, 1, 12)
    rows = records(seed, chances, candidates, rate)
    if not any(row["scores"]["judge"] for row in rows):
        return
    needs = []
    for target in (0.3, 0.6, 0.9):
        plan = plan_budget(rows, "guide", "judge", target, repeats=20, seed=seed)
        oracle = [point.oracle.mean for point in plan.points]
        assert np.diff(oracle).min() >= -1e-12
        assert all(point.guided.mean <= point.oracle.mean + 1e-9 for point in plan.points)
        assert plan.guided.number >= plan.oracle.number
        grown = [float(one(2**k)) for one in (plan.guided_law, plan.oracle_law) for k in range(14)]
        assert np.diff(grown[:14]).min() >= -1e-12
        assert np.diff(grown[14:]).min() >= -1e-12
        needs.append(plan.guided.number)
    assert needs == sorted(needs)


def test_all_right_none_right_and_failed_candidates():
    plan = plan_budget(records(0, [1.0] * 8, 4), "guide", "judge", repeats=50)
    assert plan.guided == plan.oracle == Samples(1, 1, 1, 1)
    with pytest.raises(ValueError, match="no candidate is right: the highest score of judge is 0, success starts at 1"):
        plan_budget(records(0, [0.0] * 8, 4), "guide", "judge")
    rows = records(0, [0.5] * 8, 4)
    for row in rows[::4]:
        row["scores"] = {"judge": -inf}
    with pytest.warns(UserWarning, match="8 of 32 candidates have no score of guide; they count as the worst"):
        assert plan_budget(rows, "guide", "judge", repeats=50).points[0].oracle.mean <= 0.75
    for row in rows[::4]:
        row["scores"] = {"guide": None, "judge": None}
    with pytest.warns(UserWarning, match="8 of 32") as told:
        assert plan_budget(rows, "guide", "judge", repeats=50).points[0].oracle.mean <= 0.75
    assert [str(one.message).split(" of ")[2].split(";")[0] for one in told] == ["guide", "judge"]


def test_a_graded_judge_and_a_large_pool():
    rng = np.random.default_rng(4)
    rows = [
        {"prompt_index": i, "nfe": 1, "scores": {"grade": float(rng.random())}} for i in range(8) for _ in range(200)
    ]
    plan = plan_budget(rows, "grade", "grade", 0.9, success_at=0.9, repeats=50)
    assert plan.points[-1].k == 200
    assert len(plan.points) <= 64
    assert plan.oracle.number == pytest.approx(22, abs=4)  # 1 - .9^22 = .902


def test_the_same_seed_gives_the_same_plan_as_json():
    rows = records(5, np.full(10, 0.3), 8, 0.3)
    first, again, other = (plan_budget(rows, "guide", "judge", repeats=50, seed=s).as_dict() for s in (1, 1, 2))
    assert first == again
    assert first["points"] != other["points"]
    assert json.loads(json.dumps(first, allow_nan=False)) == json.loads(json.dumps(first))


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("the target is 1; give a share", {"target": 1.0}),
        ("no score 'taste'; they hold guide, judge", {"guide": "taste"}),
        ("hold 7 prompts; a plan needs at least 8", {"records": records(0, [0.5] * 7, 4)}),
        ("hold 0 prompts", {"records": []}),
        ("hold 3 candidates per prompt; a plan needs at least 4", {"records": records(0, [0.5] * 8, 3)}),
        ("between 3 and 4 candidates per prompt", {"records": records(0, [0.5] * 8, 4)[:-1]}),
        (
            "strategy 'zero-order', whose candidates depend on each other",
            {"records": [{**row, "strategy": "zero-order"} for row in records(0, [0.5] * 8, 4)]},
        ),
    ],
)
def test_what_the_records_cannot_tell_is_refused(message, change):
    with pytest.raises(ValueError, match=message):
        plan_budget(**{"records": records(0, [0.5] * 8, 4), "guide": "guide", "judge": "judge"} | change)
