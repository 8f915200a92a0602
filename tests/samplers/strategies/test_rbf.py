from itertools import groupby

import pytest
from samplesmith.samplers.strategies import Rbf
from samplesmith.samplers.strategies.quantiles import quantile_at
from scripted_search import drive, name, scripted


def used(nodes):
    """Candidates per step."""
    return [len(list(group)) for _, group in groupby(nodes, lambda node: len(node.legs))]


def test_quotas_of_a_hand_worked_table():
    """28 NFEs, 5 steps, 3 warm-up noises: q = (28 - 3) / 5 = 5.

    | step | quota | candidates | incumbent | what happens |
    |---|---|---|---|---|
    | 1 | | .1 .4 .2 | .4 | the best initial noise is the first incumbent |
    | 2 | 5 | .3 .5 | .5 | the second beats it: 3 roll over |
    | 3 | 8 | .1 .2 .3 .45 .4 .3 .2 .1 | .45 | none does: the step's best, nothing rolls over |
    | 4 | 5 | .5 | .5 | the first does |
    | 5 | | 28 - 3 - 2 - 8 - 1 = 14 | | the last step takes all that is left |
    """
    scores = [0.1, 0.4, 0.2, 0.3, 0.5, 0.1, 0.2, 0.3, 0.45, 0.4, 0.3, 0.2, 0.1, 0.5, 0.7, 0.6]
    search, nodes = drive(Rbf(warm_up=3), scripted(*scores), steps=5, budget=28)
    assert used(nodes) == [3, 2, 8, 1, 14]
    assert name(nodes[3]) == "101.1"
    assert name(nodes[5]) == "101.2.1"
    assert name(nodes[13]) == "101.2.4.1"
    assert [name(node) for node in nodes[14:16]] == ["101.2.4.1.1", "101.2.4.1.2"]
    assert search.best == nodes[14]


def test_quotas_that_are_given_and_candidates_that_only_equal_the_incumbent():
    _, nodes = drive(Rbf(quota=2, warm_up=1), scripted(0.5, 0.5, 0.5, 0.6, 0.6), steps=4, budget=12)
    assert used(nodes) == [1, 2, 1, 8]


def test_the_papers_numbers():
    """500 NFEs, 10 steps, 25 noises: 47.5 candidates per step, and nothing beats the incumbent."""
    search, nodes = drive(Rbf(), lambda node: 0.0, steps=10, budget=500)
    assert used(nodes) == [25, *[47] * 8, 500 - 25 - 8 * 47]
    assert search.budget.spent == 500


def test_the_warm_up_leaves_enough_to_finish():
    assert used(drive(Rbf(), lambda node: 0.0, steps=4, budget=9)[1]) == [6, 1, 1, 1]


def test_a_first_scored_step_is_paid_for_by_its_steps():
    """Noises to step 3 cost 3 each: (20 - 2 * 3) / 3 levels = 4."""
    _, nodes = drive(Rbf(warm_up=2, first_scored=3), lambda node: 0.0, steps=5, budget=20)
    assert used(nodes) == [2, 4, 10]


def test_calibrated_acceptance_takes_the_gain_of_a_step_off():
    """Medians rise by .2 and .1, so .55 does not beat .4, and .61 does."""
    known = {1: (0.1, 0.3, 0.5), 2: (0.3, 0.5, 0.7), 3: (0.4, 0.6, 0.9)}
    rule = Rbf(quota=3, warm_up=1, accept="calibrated").informed({1: 0.9}, known)
    scores = [0.4, 0.55, 0.61, 0.65, 0.72]
    _, nodes = drive(rule, scripted(*scores), steps=4, budget=12)
    assert used(nodes) == [1, 2, 2, 7]
    paper = Rbf(quota=3, warm_up=1).informed({1: 0.9}, known)
    assert used(drive(paper, scripted(*scores), steps=4, budget=12)[1]) == [1, 1, 1, 9]
    with pytest.raises(ValueError, match="which a calibration with quantiles knows; calibrate, or use accept='paper'"):
        drive(Rbf(accept="calibrated"), steps=4, budget=12)


def test_quantiles_between_known_steps():
    known = {2: (0.0, 1.0), 4: (2.0, 4.0)}
    assert quantile_at(known, 2, 0.25) == pytest.approx(0.25)
    assert quantile_at(known, 3, 0.5) == pytest.approx((0.5 + 3.0) / 2)
    assert (quantile_at(known, 1, 1.0), quantile_at(known, 9, 0.0)) == (1.0, 2.0)


def test_bad_settings():
    for settings, message in (
        ({"quota": 0}, "quota is 0; give at least 1"),
        ({"warm_up": 0}, "warm_up is 0; give at least 1"),
        ({"accept": "always"}, "accept is 'always'; give 'paper' or 'calibrated'"),
    ):
        with pytest.raises(ValueError, match=message):
            Rbf(**settings)
