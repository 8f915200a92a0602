"""The formulas of guidance rules, against what a pipeline makes of the halves that they rewrite."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from samplesmith.samplers.hooks.guidance_rules import (
    Asked,
    GuidanceAt,
    PipelineGuidance,
    WeakToStrong,
    guided,
    unconditional_for,
    weak_to_strong,
)

U, C, R = (torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed)).double() for seed in range(3))


class Known:
    def predict(self, conditional):
        self.told = conditional.guidance_scale()
        return R

    def check(self, module):
        """Any."""


def combined(rule, own):
    """What a pipeline at scale w predicts of the halves that a rule gives it."""
    conditional, memory = rule.conditional(C, Asked(None, None, lambda: own))
    u = rule.unconditional(U if rule.needs_unconditional else None, memory)
    return guided(u, conditional, own)


scales = st.floats(-2, 12, allow_subnormal=False)


@given(own=scales, scale=st.floats(0, 4, allow_subnormal=False))
def test_slow_and_contrast(own, scale):
    """r + s (g - r) for whatever w the pipeline has; and r + s (c - r) where nothing is guided."""
    weak = Known()
    slow = combined(WeakToStrong(weak, scale, of_guided=True), own)
    assert torch.allclose(slow, R + scale * (U + own * (C - U) - R), atol=1e-9)
    late = combined(WeakToStrong(weak, scale, of_guided=False), own)
    assert torch.allclose(late, R + scale * (C - R), atol=1e-9)


def test_what_is_bit_for_bit():
    assert weak_to_strong(R, C, 1) is C
    assert torch.equal(weak_to_strong(R, C, 0), R)
    assert torch.equal(combined(WeakToStrong(Known(), 0.0, of_guided=False), 7.5), R)
    assert torch.equal(combined(WeakToStrong(None, 0.0, of_guided=False), 7.5), C)
    assert torch.equal(combined(WeakToStrong(Known(), 1.0, of_guided=True), 7.5), guided(U, C, 7.5))
    assert torch.equal(combined(PipelineGuidance(), 7.5), guided(U, C, 7.5))
    assert torch.equal(combined(GuidanceAt(1.0), 7.5), C)
    assert torch.equal(unconditional_for(U, C, 3.0, 3.0), U)


@given(own=scales.filter(lambda scale: abs(scale - 1) > 0.1), other=scales)
def test_another_scale(own, other):
    assert torch.allclose(combined(GuidanceAt(other), own), guided(U, C, other), atol=1e-8)


def test_sgg_in_the_papers_words():
    """v_c + 3 (v_c - v_skip), newer pages of the method: s = 1 + w."""
    assert torch.allclose(combined(WeakToStrong(Known(), 1 + 3.0, of_guided=False), 4.5), C + 3 * (C - R))


def test_half_precision_is_summed_in_single():
    r, g = (x.to(torch.bfloat16) for x in (R, C))
    expected = (r.float() + 1.5 * (g.float() - r.float())).to(torch.bfloat16)
    assert torch.equal(weak_to_strong(r, g, 1.5), expected)


@pytest.mark.parametrize(("told", "expected"), [(None, 7.5), (2.0, 2.0)])
def test_a_weak_prediction_is_asked_for_the_scale(told, expected):
    weak = Known()
    combined(WeakToStrong(weak, 0.0, of_guided=False, told_scale=told), 7.5)
    assert weak.told == expected


def test_halves_that_are_evaluated():
    halves = {
        scale: (GuidanceAt(scale).needs_conditional, GuidanceAt(scale).needs_unconditional) for scale in (0, 1, 2)
    }
    assert halves == {0: (False, True), 1: (True, False), 2: (True, True)}
