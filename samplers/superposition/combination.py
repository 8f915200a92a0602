"""What is carried through a formula: a score, a log-density, and what of the density the score does not account for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .scores import Scores


@dataclass(frozen=True, eq=False)
class Combination:
    """A density made of those of the rows, at the sample of each group.

    Attributes:
        coordinates: of its score in the basis of `Scores`, (groups, size).
        log_density: up to what all rows have in common, (groups,).
        rate: of its Feynman-Kac weight: a step of drift eta changes the log-weight by eta / 2 times it, (groups,). 0
            where sampling with the score follows the density by itself.
    """

    coordinates: Tensor
    log_density: Tensor
    rate: Tensor

    @classmethod
    def of_row(cls, scores: Scores, number: int, log_density: Tensor) -> Combination:
        """The density of one row, which needs no weight."""
        return cls(scores.row(number), log_density, torch.zeros_like(log_density))


def combined(
    scores: Scores, parts: Sequence[Combination], factors: Tensor, log_density: Tensor, curvature: float = 0.0
) -> Combination:
    """A density whose logarithm is a function of those of its parts.

    With phi(log p_1, ..., log p_n), its derivatives phi_i, and second derivatives c (phi_i delta_ij - phi_i phi_j), the
    score is S = sum_i phi_i s_i. Put into the Fokker-Planck equation of the natural diffusion (no drift, in the
    coordinates of `steps.py`), d log p differs from what sampling with S does by g^2 / 2 times

        (c - 1) sum_i phi_i |s_i - S|^2 + (sum_i phi_i - 1) |S|^2 + sum_i phi_i rate_i.

    It holds the three cases of Feynman-Kac correctors (Skreta et al., arXiv 2503.02819, propositions 3.1 to 3.3),
    guidance, products and tempering, and the Dombi operators.

    Args:
        scores: of the rows.
        parts: n of them.
        factors: phi_i, (groups, n).
        log_density: phi, (groups,).
        curvature: c; 0 where phi is linear.
    """
    vectors = torch.stack([part.coordinates for part in parts], 1)
    score = (factors[:, :, None] * vectors).sum(1)
    apart = vectors - score[:, None]
    variance = (factors * scores.inner(apart, apart)).sum(1)
    square = scores.inner(score[:, None], score[:, None])[:, 0]
    carried = (factors * torch.stack([part.rate for part in parts], 1)).sum(1)
    return Combination(score, log_density, (curvature - 1) * variance + _rounded(factors.sum(1) - 1) * square + carried)


def columns(values: Sequence[float], like: Tensor) -> Tensor:
    """Numbers as equal lines, (groups, n), beside log-densities (groups,): made on the device, with no host sync."""
    return torch.stack([torch.full_like(like, value) for value in values], 1)


def _rounded(excess: Tensor) -> Tensor:
    """0 where factors add up to 1 but for rounding: the square that it multiplies grows with the dimension."""
    return torch.where(excess.abs() < 1e-5, torch.zeros_like(excess), excess)
