"""Decoupled DMD (arXiv 2511.22677): a guided teacher's gradient is distribution matching and an augmentation.

    f_fake - (u + a (c - u))  =  (f_fake - c)  -  (a - 1) (c - u)

with c and u the teacher's clean predictions with the condition and without it. The first part keeps the student's
distribution together, the second bakes guidance in; each may take a noise level of its own. The schedule that the paper
finds best: matching over the whole range of times, augmentation at times less noisy than the student's own step.
"""

from __future__ import annotations

from torch import Tensor

from ...samplers.interpolants import expand


def augmentation(conditional: Tensor, unconditional: Tensor, scale: float, weights: Tensor) -> Tensor:
    """-w (a - 1) (c - u): what is added to `dm.gradient` of the unguided teacher.

    Args:
        conditional, unconditional: clean predictions at one x_t, (batch, ...).
        scale: a, of guidance; 1 adds nothing.
        weights: (batch,).
    """
    return -(scale - 1) * expand(weights, conditional) * (conditional - unconditional)


def less_noisy(draws: Tensor, low: float, high: float, step: Tensor) -> Tensor:
    """Shares of the path for the augmentation, uniform between `low` and the student's own step.

    Args:
        draws: uniform in [0, 1), (batch,).
        low, high: the range of distribution matching, which the student's step may lie outside of.
        step: the share of the path where each row's student stands, (batch,).
    """
    return low + draws * (step.clamp(low, high) - low)
