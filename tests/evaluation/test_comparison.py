import numpy as np
import pytest
from samplesmith.evaluation.comparison import (
    Estimate,
    bootstrap_mean,
    paired_difference,
    ratio_of_means,
    resampled_means,
)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_the_interval_of_a_mean_has_the_width_of_its_standard_error():
    values = normal(400, seed=1)
    estimate = bootstrap_mean(values)
    assert estimate.mean == pytest.approx(values.mean())
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)
    assert str(Estimate(0.5, 0.25, 1)) == "0.500 [0.250, 1.000]"


def test_every_set_that_can_be_drawn_of_two_prompts():
    """0 and 1: a quarter of the sets has the mean 0, a quarter 1, so the middle 95 % reaches from end to end."""
    assert bootstrap_mean([0.0, 1.0]) == Estimate(0.5, 0.0, 1.0)


def test_pairing_takes_out_what_prompts_share():
    """Var(a - b) = 2 (1 - r) Var(a): with a correlation of 0.99, a tenth of the width of independent sets."""
    shared, own, rival = normal(3, 300, seed=2)
    a, b = shared * 0.99**0.5 + 0.1 * own, shared * 0.99**0.5 + 0.1 * rival
    paired = paired_difference(a, b)
    assert paired.mean == pytest.approx(a.mean() - b.mean())
    assert paired.high - paired.low == pytest.approx(2 * 1.96 * (2 * 0.01 / 300) ** 0.5, rel=0.15)
    back = paired_difference(b, a, seed=1)
    assert (back.low, back.high) == pytest.approx((-paired.high, -paired.low), abs=0.002)
    assert paired_difference(a + 1, b).low == pytest.approx(paired.low + 1)


def test_the_ratio_of_means_by_the_delta_method():
    """Var(x / y) is about Var(x - r y) / (n y^2), r the ratio."""
    denominators = 5 + normal(500, seed=3)
    numerators = 0.4 * denominators + 0.5 * normal(500, seed=4)
    found = ratio_of_means(numerators, denominators)
    assert found.mean == pytest.approx(numerators.mean() / denominators.mean())
    spread = (numerators - found.mean * denominators).std() / denominators.mean() / 500**0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.05)
    proportional = ratio_of_means(2 * denominators, denominators)
    assert vars(proportional) == pytest.approx({"mean": 2, "low": 2, "high": 2})


@pytest.mark.parametrize("values", [[0.3] * 40, [0.0] * 5, [1.0]])
def test_values_that_are_all_alike_give_a_point(values):
    assert vars(bootstrap_mean(values)) == pytest.approx(dict.fromkeys(("mean", "low", "high"), values[0]))
    assert paired_difference(values, values) == Estimate(0, 0, 0)
    if any(values):
        assert ratio_of_means(values, values) == Estimate(1, 1, 1)


def test_one_success_among_failures_has_an_interval():
    found = bootstrap_mean([1.0] + [0.0] * 49)
    assert (found.mean, found.low) == (0.02, 0)
    assert found.high == pytest.approx(0.06)  # of binomial(50, 1 / 50), 97.5 % are at most 3


def test_a_ratio_whose_denominators_may_vanish_has_an_open_interval():
    assert ratio_of_means([0.0, 0.0, 1.0], [0.0, 0.0, 1.0]) == Estimate(1, -np.inf, np.inf)


def test_the_same_seed_draws_the_same_sets_and_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()
    values = normal(30)
    first, again, other = (bootstrap_mean(values, 200, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert np.array_equal(before, np.random.get_state()[1])


def test_a_set_is_drawn_for_all_quantities_at_once():
    values = normal(50)
    means = resampled_means(np.stack([values, 3 * values, normal(50, seed=1)], 1), 300, seed=0)
    assert means.shape == (300, 3)
    assert np.allclose(means[:, 1], 3 * means[:, 0])
    assert abs(np.corrcoef(means[:, 0], means[:, 2])[0, 1]) < 0.5
    assert means[:, 0].std() == pytest.approx(values.std() / 50**0.5, rel=0.15)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (r"have shape \(0,\)", lambda: bootstrap_mean([])),
        (r"have shape \(3,\) and \(2,\); give one value per prompt", lambda: paired_difference([1, 2, 3], [1, 2])),
        (r"have shape \(2, 2\)", lambda: bootstrap_mean(np.zeros((2, 2)))),
        ("1 values are NaN or infinite", lambda: bootstrap_mean([1, np.nan])),
        ("2 values are NaN or infinite", lambda: paired_difference([1, -np.inf], [np.inf, 1])),
        ("denominators of at least 0, and not all of them 0", lambda: ratio_of_means([1, 2], [0, 0])),
        ("denominators of at least 0, and not all of them 0", lambda: ratio_of_means([1, 2], [3, -1])),
    ],
)
def test_bad_values_are_one_sentence(message, call):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.slow
@pytest.mark.parametrize(("prompts", "expected"), [(20, 0.93), (50, 0.94), (200, 0.945)])
def test_coverage_of_gaussian_samples(prompts, expected):
    """The percentile interval is that of a normal with the sample's own spread: z against Student's t, and n - 1."""
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(2000):
        a, b = rng.normal(size=(2, prompts)) + rng.normal(size=prompts)
        found = paired_difference(a + 0.5, b, repeats=999, seed=seed)
        covered += found.low <= 0.5 <= found.high
    assert covered / 2000 == pytest.approx(expected, abs=0.02)
