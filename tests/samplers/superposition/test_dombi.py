"""Formulas as densities: the laws that hold, and the limits of hardness."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from samplesmith.samplers.superposition import Prompt, Step, parse_formula
from samplesmith.samplers.superposition.dombi import evaluated
from samplesmith.samplers.superposition.scores import Scores
from samplesmith.samplers.superposition.situation import Situation

A, B, C = Prompt("a"), Prompt("b"), Prompt("c")
STEP = Step(0.9, 0.3, 0.2, 0.7, 0.8, 0.7, 0.5, 0.25, 0.1, tracked=True)


def situation(densities=(0.3, 0.1, -0.8, 0.5), groups=3):
    """Rows [reference, a, b, c] of random scores, with given log-densities."""
    draw = torch.Generator().manual_seed(0)
    eps = torch.randn(groups, 4, 5, generator=draw, dtype=torch.float64)
    sample = torch.randn(groups, 5, generator=draw, dtype=torch.float64)
    scores = Scores.measured(eps, eps, sample, None, 3, STEP)
    return Situation(scores, torch.tensor(densities, dtype=torch.float64).expand(groups, 4), STEP), -eps


def value(formula, now, hardness=1.0):
    leaves = dict(zip("abc", now.prompts(), strict=True))
    return evaluated(formula, leaves, now.reference(), now.scores, hardness)


def assert_same(one, other):
    for left, right in zip(vars(one).values(), vars(other).values(), strict=True):
        assert torch.allclose(left, right, atol=1e-9)


def test_laws():
    now, _ = situation()
    for one, other in (
        (A & B, B & A),
        (A | B, B | A),
        ((A & B) & C, A & (B & C)),
        ((A | B) | C, A | (B | C)),
        (~~A, A),
        (~~(A | B), A | B),
        (parse_formula('"a" & ("b" | "c")'), A & (B | C)),
    ):
        assert_same(value(one, now, 1.7), value(other, now, 1.7))
    alone = type(A | B)((A,))
    assert_same(value(alone, now), value(A, now))


def test_one_is_the_mixture_and_the_harmonic_mean():
    now, _ = situation()
    p = now.relative.exp()
    either, both = value(A | B, now), value(A & B, now)
    assert torch.allclose(either.log_density.exp(), p[:, 0] + p[:, 1])
    assert torch.allclose(both.log_density.exp(), p[:, 0] * p[:, 1] / (p[:, 0] + p[:, 1]))
    weights = now.scores.row_weights(either.coordinates)
    assert torch.allclose(weights[:, 1:3], p[:, :2] / p[:, :2].sum(1, keepdim=True))
    negated = now.scores.row_weights(value(~A, now).coordinates)
    assert torch.allclose(negated, torch.tensor([2.0, -1, 0, 0], dtype=torch.float64).expand(3, 4))


@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4), st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_hard_operators_are_the_largest_and_the_smallest(densities, shift):
    now, _ = situation(densities)
    known = now.relative
    assert torch.allclose(value(A | B | C, now, 1e4).log_density, known.amax(1), atol=2e-4)
    assert torch.allclose(value(A & B & C, now, 1e4).log_density, known.amin(1), atol=2e-4)
    # What all log-densities have in common stays a common summand.
    moved, _ = situation([one + shift for one in densities])
    formula = A & ~B | C
    assert torch.allclose(value(formula, moved).log_density, value(formula, now).log_density + shift)


def test_the_rates_of_feynman_kac_weights():
    """Section 10 of the derivation: OR (L - 1) V, AND -(L + 1) V, NOT 2 |s_c - s|^2, in units of g^2 / 2."""
    now, zeta = situation()
    L = 2.5
    for formula, factor in ((A | B, L - 1), (A & B, -(L + 1))):
        found = value(formula, now, L)
        weights = now.scores.row_weights(found.coordinates)[:, :, None]
        mixed = (weights * zeta).sum(1, keepdim=True)
        variance = (weights[..., 0] * (zeta - mixed).square().sum(2)).sum(1)
        assert torch.allclose(found.rate, factor * variance)
    assert torch.allclose(value(~A, now).rate, 2 * (zeta[:, 0] - zeta[:, 1]).square().sum(1))
    assert torch.allclose(value(~~A, now).rate, torch.zeros(3, dtype=torch.float64), atol=1e-12)


def test_what_a_formula_needs_is_said():
    now, _ = situation()
    leaves = dict(zip("abc", now.prompts(), strict=True))
    with pytest.raises(ValueError, match="NOT is relative to a reference"):
        evaluated(~A, leaves, None, now.scores, 1.0)
    with pytest.raises(ValueError, match="'d' is in the formula, but no row of it is given"):
        value(Prompt("d"), now)
