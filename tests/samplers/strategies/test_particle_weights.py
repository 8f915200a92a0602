import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samplesmith.samplers.strategies.particle_weights import (
    Weights,
    effective_size,
    log_mean_exp,
    multinomial,
    normalised,
    systematic,
)

WEIGHTS = st.lists(st.floats(0, 10), min_size=1, max_size=9).filter(lambda ones: sum(ones) > 1e-3)


@given(WEIGHTS, st.integers(1, 12), st.integers(0, 2**32))
def test_systematic_offspring_are_the_floor_or_ceiling_of_what_is_due(weights, count, seed):
    shares = np.asarray(weights) / sum(weights)
    ancestors = systematic(shares, count, np.random.default_rng(seed))
    offspring = np.bincount(ancestors, minlength=len(shares))
    assert offspring.sum() == count
    assert np.all(np.abs(offspring - count * shares) < 1 + 1e-9)


@pytest.mark.parametrize("draw", [systematic, multinomial])
def test_offspring_are_right_on_average(draw):
    shares, generator = np.asarray([0.05, 0.6, 0.0, 0.35]), np.random.default_rng(0)
    counts = np.asarray([np.bincount(draw(shares, 7, generator), minlength=4) for _ in range(4000)])
    assert counts.mean(0) == pytest.approx(7 * shares, abs=0.06)
    spread = {systematic: 0.25, multinomial: 7 * 0.6 * 0.4}[draw]
    assert (
        counts[:, 1].var() == pytest.approx(spread, abs=0.1) if draw is multinomial else counts.var(0).max() <= spread
    )


def test_effective_size_of_hand_worked_weights():
    assert effective_size(np.log([1.0, 1.0, 1.0, 1.0])) == pytest.approx(4)
    assert effective_size(np.log([3.0, 1.0])) == pytest.approx(16 / 10)
    assert effective_size(np.asarray([0.0, -np.inf, -np.inf])) == pytest.approx(1)
    assert effective_size(np.log([3.0, 1.0]) - 5000) == pytest.approx(1.6), "no overflow"
    assert normalised(np.asarray([-np.inf, -np.inf])).tolist() == [0.5, 0.5]


def test_log_mean_exp():
    assert log_mean_exp(np.log([1.0, 2.0, 6.0])) == pytest.approx(np.log(3))
    assert log_mean_exp(np.asarray([1000.0, 1000.0])) == pytest.approx(1000)
    assert log_mean_exp(np.asarray([-np.inf, -np.inf])) == -np.inf


def test_no_increment_is_lost_where_nothing_is_resampled_and_the_normaliser_keeps_all():
    first, second, third = np.log([1.0, 3.0]), np.log([2.0, 0.5]), np.log([5.0, 1.0])
    kept = Weights.even(2).times(first).times(second)
    assert kept.log == pytest.approx(first + second)
    assert kept.log_normaliser == pytest.approx(np.log((2 + 1.5) / 2))
    fresh, ancestors = kept.resampled(systematic, 2, np.random.default_rng(0))
    assert fresh.log.tolist() == [0, 0]
    assert fresh.log_normaliser == pytest.approx(kept.log_normaliser)
    after = fresh.times(third[ancestors])
    assert after.log_normaliser == pytest.approx(np.log(3.5 / 2) + log_mean_exp(third[ancestors]))


def test_a_particle_that_failed_stays_without_weight():
    lost = (
        Weights.even(2)
        .times(np.asarray([-np.inf, 0.0]))
        .times(np.asarray([np.inf, 0.0]))
        .times(np.asarray([np.nan, 1]))
    )
    assert lost.log.tolist() == [-np.inf, 1.0]
