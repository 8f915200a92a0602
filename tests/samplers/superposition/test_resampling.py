"""Feynman-Kac weights: densities that no weighted score samples by itself, in closed form."""

import pytest
import superposed_worlds as worlds
import torch
from samplesmith.samplers.superposition import Resampling
from samplesmith.samplers.superposition.resampling import effective_size, systematic

PAIR = worlds.World(torch.tensor([[-1.0], [1.0]], dtype=torch.float64), torch.tensor([0.5, 1.0], dtype=torch.float64))


def product(factors, spread):
    """Mean and variance of prod_i N(m_i, v_i)^f_i."""
    precision = torch.tensor(factors, dtype=torch.float64) / spread
    return float((precision * PAIR.means[:, 0]).sum() / precision.sum()), float(1 / precision.sum())


def drawn(operator, factors, particles, steps, resampling, seed=0):
    """Mean and variance of the run's weighted ends."""
    highest = 20.0
    mean, variance = product(factors, PAIR.spread(1.0, highest))
    start = torch.randn(particles, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    out = worlds.superposed(
        PAIR,
        "ve",
        steps,
        operator=operator,
        start=start * variance**0.5 + mean,
        integrator="euler-maruyama",
        resampling=resampling,
        keep_trace=True,
        seed=seed + 1,
    )
    weights = torch.ones(particles) if out.run.log_weights is None else out.run.log_weights.softmax(0)
    weights = weights / weights.sum()
    ends = out.final[:, 0]
    found = (weights * ends).sum()
    return float(found), float((weights * (ends - found).square()).sum()), out


EXACT = Resampling((0.0, 1.0), clamp=None, threshold=0.5)


@pytest.mark.parametrize(
    ("operator", "factors"), [("product", (1.0, 1.0)), ("mean", (0.5, 0.5)), ([2.0, -1.0], (2.0, -1.0))]
)
def test_weights_correct_products_means_and_guidance(operator, factors):
    mean, variance = product(factors, PAIR.widths**2)
    right = drawn(operator, factors, 3000, 100, EXACT)
    plain = drawn(operator, factors, 3000, 100, None)
    wrong = abs(plain[0] - mean) + abs(plain[1] - variance)
    assert abs(right[0] - mean) + abs(right[1] - variance) < wrong / 3
    assert right[0] == pytest.approx(mean, abs=0.08)
    assert right[1] == pytest.approx(variance, rel=0.12)


@pytest.mark.slow
def test_the_product_of_two_gaussians_to_the_last_standard_error():
    particles = 50_000
    mean, variance = product((1.0, 1.0), PAIR.widths**2)
    found_mean, found_variance, out = drawn("product", (1.0, 1.0), particles, 500, EXACT)
    effective = float(out.run.trace.stacked()["effective_sizes"].min())
    assert found_mean == pytest.approx(mean, abs=3 * (variance / effective) ** 0.5)
    assert found_variance == pytest.approx(variance, abs=3 * variance * (2 / effective) ** 0.5)


def test_systematic_resampling_takes_each_as_often_as_it_weighs():
    weights = torch.tensor([0.1, 0.0, 0.55, 0.35])
    for uniform in (0.0, 0.3, 0.999):
        counts = systematic(weights.log(), torch.tensor(uniform)).bincount(minlength=4)
        assert ((counts - 4 * weights).abs() < 1).all()
        assert counts[1] == 0
    assert effective_size(torch.zeros(7)) == pytest.approx(7)


def test_weights_count_inside_of_the_window_only_and_are_clamped():
    clamped = Resampling((0.2, 0.8), clamp=0.1, threshold=0.01)
    _, _, out = drawn("product", (1.0, 1.0), 50, 40, clamped)
    inside = sum(clamped.gathers(step) for step in out.run.steps)
    assert 0 < inside < 40
    assert (out.run.log_weights - out.run.log_weights.mean()).abs().max() <= inside * 0.2
    for settings, sentence in (
        ({"window": (0.8, 0.2)}, "two rising times"),
        ({"clamp": 0.0}, "clamp is 0.0"),
        ({"threshold": 2.0}, "threshold is 2.0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Resampling(**settings)


def test_an_and_without_a_density_of_its_own_is_refused():
    with pytest.raises(ValueError, match="has none of its own that weights could correct"):
        drawn("and", (0.5, 0.5), 4, 4, EXACT)
