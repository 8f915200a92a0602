import numpy as np
import pytest
from samplesmith.samplers.strategies import Node, Random, make_strategy


def run(strategy, value, num_candidates, batch_size, seed=0):
    search = strategy.start(seed, num_candidates)
    while not search.done:
        batch = search.propose(batch_size)
        search.observe(batch, [value(proposal) for proposal in batch])
    return search


def value(proposal: Node) -> float:
    return float(np.random.default_rng(proposal.seed).normal())


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_random_search_does_not_depend_on_the_batch_size(batch_size):
    search = run(Random(), value, 10, batch_size)
    assert [proposal.seed for proposal, _ in search.observed] == list(range(10))
    assert search.best == run(Random(), value, 10, 10).best


def test_expected_maximum_of_gaussian_draws():
    """E max of 5 draws of N(0, 1) is 1.16296 (David and Nagaraja, Order Statistics, table 3.2)."""
    best = [value(run(Random(), value, 5, 5, seed=100 * k).best) for k in range(2000)]
    assert np.mean(best) == pytest.approx(1.16296, abs=3 * np.std(best) / np.sqrt(len(best)))


def test_the_first_of_equals_wins_and_a_failed_one_never():
    search = Random().start(7, 4)
    search.observe(search.propose(4), [float("-inf"), 1.0, 1.0, 0.5])
    assert search.best == Node.draw(8)


def test_start_leaves_the_settings_object_alone():
    strategy = Random()
    run(strategy, value, 3, 3)
    assert not hasattr(strategy, "observed")


def test_settings_in_the_name():
    halving = make_strategy("halving:rungs=[4,12],keep=0.25,threshold=0.4")
    assert (halving.rungs, halving.keep, halving.threshold) == ([4, 12], 0.25, 0.4)
    assert make_strategy('halving:correlations={"4":0.2,"8":0.9}').ends(28) == [8, 28]
    assert make_strategy("zero-order:angle=0.3").angle == 0.3
    with pytest.raises(ValueError, match="halving has no setting 'eta'; known: rungs, keep, correlations, threshold"):
        make_strategy("halving:eta=2")


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown strategy 'greedy'; known: random"):
        make_strategy("greedy")
