import math

import numpy as np
import pytest
from samplesmith.samplers.strategies import Code, Svdd
from scripted_search import drive, name, scripted


def test_the_best_child_of_each_step_goes_on():
    _, nodes = drive(Svdd(2), scripted(0.5, 0.1, 0.2, 0.4, 0.3, 0.6, 0.7), steps=4, budget=7)
    assert list(map(name, nodes)) == ["100", "100.1", "100.2", "100.2.1", "100.2.2", "100.2.1.1", "100.2.1.2"]


def test_the_budget_is_divided_alike_and_the_last_step_has_what_is_over():
    _, nodes = drive(Svdd(), steps=4, budget=1 + 3 * 5 + 2)
    assert [sum(len(node.legs) == level for node in nodes) for level in (1, 2, 3, 4)] == [1, 5, 5, 7]


def test_it_may_begin_among_several_noises():
    _, nodes = drive(Svdd(2, draws=3), scripted(0.1, 0.3, 0.2), steps=2, budget=5)
    assert list(map(name, nodes)) == ["100", "101", "102", "101.1", "101.2"]


def test_a_temperature_draws_by_the_softmax_of_scores():
    """alpha = 1 with scores log 1 and log 3: a quarter and three quarters, by the search's seed."""

    firsts = []
    for seed in range(400):
        _, nodes = drive(Svdd(2, temperature=1.0), scripted(0.0, 0.0, math.log(3)), steps=3, budget=5, seed=seed)
        firsts.append(nodes[3].parent.noise_key == 1)
    assert np.mean(firsts) == pytest.approx(0.25, abs=3 * math.sqrt(0.25 * 0.75 / 400))
    cold = drive(Svdd(2, temperature=1e-6), scripted(0.0, 0.0, 0.1), steps=3, budget=5)[1]
    assert cold[3].parent.noise_key == 2


def test_bad_settings():
    with pytest.raises(ValueError, match="temperature is -1; give at least 0"):
        Svdd(temperature=-1)
    with pytest.raises(ValueError, match="children is 0; give at least 1"):
        Svdd(0)
    with pytest.raises(ValueError, match="block is 0; give at least 1"):
        Code(0)
