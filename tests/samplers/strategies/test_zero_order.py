import math

import numpy as np
import pytest
import torch
from samplesmith.samplers.noise import rotate
from samplesmith.samplers.strategies import Random, ZeroOrder, make_strategy

DIMENSION = 4
CENTRE = torch.tensor([3.0, -1.0, 0.5, 2.0])


def noise_of(seed):
    return torch.randn(1, DIMENSION, generator=torch.Generator().manual_seed(seed))


def candidate(proposal):
    noise = noise_of(proposal.seed)
    for seed, angle in proposal.turns:
        noise = rotate(noise, noise_of(seed), angle)
    return noise[0]


def quadratic(proposal):
    return -float((candidate(proposal) - CENTRE).square().sum())


def run(strategy, value, num_candidates, batch_size=5, seed=0):
    search = strategy.start(seed, num_candidates)
    while not search.done:
        batch = search.propose(batch_size)
        assert batch == search.propose(batch_size)
        search.observe(batch, [value(proposal) for proposal in batch])
    return search


def angle_to_centre(proposal):
    return math.acos(float(torch.cosine_similarity(candidate(proposal), CENTRE, dim=0)))


@pytest.mark.parametrize("seed", range(3))
def test_it_converges_to_the_nearest_point_of_the_shell(seed):
    found = run(ZeroOrder(neighbours=8, angle=0.12), quadratic, 800, seed=seed).best
    assert angle_to_centre(found) < 0.12
    start = noise_of(found.seed).norm()
    assert candidate(found).norm() == pytest.approx(float(start), rel=1e-4)


def test_it_beats_random_search_for_a_direction_in_many_dimensions():
    """Where draws hardly ever come near: 60 candidates in 64 dimensions, over ten seeds."""
    centre = torch.randn(64, generator=torch.Generator().manual_seed(10**9))

    def draw(seed):
        return torch.randn(1, 64, generator=torch.Generator().manual_seed(seed))

    def value(proposal):
        noise = draw(proposal.seed)
        for seed, angle in proposal.turns:
            noise = rotate(noise, draw(seed), angle)
        return float(torch.cosine_similarity(noise[0], centre, dim=0))

    gains = [
        value(run(ZeroOrder(), value, 60, seed=1000 * k).best) - value(run(Random(), value, 60, seed=1000 * k).best)
        for k in range(10)
    ]
    assert np.mean(gains) > 3 * np.std(gains, ddof=1) / len(gains) ** 0.5


@pytest.mark.parametrize("batch_size", [1, 3, 4, 8, 100])
def test_the_candidates_do_not_depend_on_the_batch_size(batch_size):
    expected = run(ZeroOrder(), quadratic, 23, 1).observed
    assert run(ZeroOrder(), quadratic, 23, batch_size).observed == expected


def test_the_pivot_moves_only_to_a_better_neighbour():
    search = ZeroOrder(neighbours=2, angle=0.3, draws=2).start(10, 8)
    first = search.propose(8)
    assert [(one.seed, one.turns) for one in first] == [(10, ()), (11, ())]
    search.observe(first, [0.0, 1.0])
    second = search.propose(8)
    assert [one.seed for one in second] == [11, 11]
    assert [len(one.turns) for one in second] == [1, 1]
    search.observe(second, [0.5, float("-inf")])
    third = search.propose(8)
    assert [len(one.turns) for one in third] == [1, 1], "no neighbour was better: the pivot stays"
    assert {one.turns for one in third}.isdisjoint({one.turns for one in second}), "with other neighbours"
    search.observe(third, [2.0, 1.5])
    fourth = search.propose(8)
    assert all(one.turns[:1] == third[0].turns for one in fourth)
    search.observe(fourth, [0.0, 0.0])
    assert search.done
    assert search.best == third[0]


def test_more_budget_goes_on():
    search = run(ZeroOrder(), quadratic, 10)
    expected = run(ZeroOrder(), quadratic, 16).observed
    search.extend(6)
    while not search.done:
        batch = search.propose(3)
        search.observe(batch, [quadratic(proposal) for proposal in batch])
    assert search.observed == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"neighbours": 0}, "neighbours is 0"),
        ({"draws": 0}, "draws 0; give at least 1"),
        ({"angle": 0.0}, "angle is 0.0 radians"),
        ({"angle": 2.0}, "at most pi / 2"),
    ],
)
def test_bad_settings_are_one_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        ZeroOrder(**settings)


def test_by_name_with_settings():
    assert isinstance(make_strategy("zero-order"), ZeroOrder)
    made = make_strategy("zero-order:neighbours=8,angle=0.3")
    assert (made.neighbours, made.angle, made.draws) == (8, 0.3, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zero-order:width=3", "zero-order has no setting 'width'; known: neighbours, angle, draws"),
        ("zero-order:angle=wide", "zero-order has angle=wide; give a number"),
        ("random:angle=1", "random has no setting 'angle'; known: none"),
    ],
)
def test_a_bad_name_is_one_sentence(name, message):
    with pytest.raises(ValueError, match=message):
        make_strategy(name)
