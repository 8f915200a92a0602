"""OR's shares, fixed weights, and what operators are refused."""

import re

import pytest
import superposed_worlds as worlds
import torch
from samplesmith.samplers.superposition import OPERATORS
from samplesmith.samplers.superposition.operators import make_operator

APART = worlds.World.of(4, (0.3, 0.5), (-1.5, 1.5))


@pytest.mark.parametrize("estimator", ["ito", "rne"])
@pytest.mark.parametrize("grid", ["vp", "flow"])
def test_or_samples_the_mixture(grid, estimator):
    groups = 1000
    start = torch.randn(groups, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    out = worlds.superposed(APART, grid, 100, operator="or", estimator=estimator, start=start, exact_start=False)
    first = out.final.mean(1) < 0
    assert float(first.double().mean()) == pytest.approx(0.5, abs=3 * (0.25 / groups) ** 0.5)
    assert out.final[first].std() == pytest.approx(0.3, rel=0.15)
    assert out.final[~first].std() == pytest.approx(0.5, rel=0.15)


def test_biases_are_logarithms_of_shares():
    groups = 1000
    start = torch.randn(groups, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    biases = torch.tensor([0.8, 0.2]).log().tolist()
    out = worlds.superposed(APART, "vp", 100, operator="or", biases=biases, start=start, exact_start=False)
    share = float((out.final.mean(1) < 0).double().mean())
    assert share == pytest.approx(0.8, abs=3 * (0.16 / groups) ** 0.5)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("integrator", ["ancestral", "euler-maruyama"])
@pytest.mark.parametrize("estimator", ["ito", "rne"])
def test_all_is_finite_from_pure_noise_to_the_data(operator, integrator, estimator):
    """At sigma = 1 of a flow alpha is 0: the authors' thread on flows stands open with NaN there."""
    start = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    out = worlds.superposed(
        APART,
        "flow",
        10,
        operator=operator,
        integrator=integrator,
        estimator=estimator,
        start=start,
        dtype=torch.float32,
    )
    assert out.final.isfinite().all()
    assert out.estimated.isfinite().all()


def test_settings_that_do_not_fit_are_refused():
    for what, count, settings, sentence in (
        ("xor", 2, {}, "unknown operator 'xor'; known: and, and-paper, or, mean, product, one weight per prompt"),
        ([0.5], 2, {}, "1 weights for 2 prompts"),
        ("or", 2, {"biases": [1.0]}, "biases has 1 values for 2 prompts"),
        ("or", 2, {"hardness": 0}, "the temperature is 0; give more than 0"),
        ('"a" & "b"', 3, {}, 'the formula "a" & "b" is over 2 prompts, and there are rows of 3'),
    ):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            make_operator(what, count, **settings)
