"""AND as SuperDiff means it: weights that keep the log-densities of all prompts equal, which is N linear equations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .combination import Combination, columns, combined
from .scores import MEAN
from .situation import Situation

ROUNDING = 300
"""Multiples of a number's precision that are taken for rounding."""


@dataclass(frozen=True)
class EqualDensities:
    """Weights kappa with sum 1, for which log q_i - log q_j stays at 0, or rises to a lift.

    A step changes log q_i by <delta, zeta_i> - eta / 2 |zeta_i|^2, which is affine in kappa. With the deviations e_i of
    the scores from their mean, C = <e_i, e_j>, and kappa = 1 / N + xi,

        w C xi = r / eta + (w - 1) <e_u, e_i> + |e_i|^2 / 2        (the mean over i taken off)

    where w is the guidance scale, u the reference, and r_i what log q_i is to gain on the others.

    **Predictable (the default).** The step's noise is left out, so that it stays noise; what it did to the densities is
    made good afterwards: r = -feedback eta (log q_i - target_i), at most all of it.
    **As in the paper** (Skreta et al., arXiv 2412.17762, appendix), kappa also cancels what the noise of the step is
    about to do. The estimated densities are then equal to rounding, but the path's noise is no longer the diffusion's
    for which the estimate holds: the true ones drift apart, and |kappa| grows with the root of the number of steps.

    Args:
        count: number of prompts, N.
        uses_noise: the paper's form.
        lift: of each prompt's log-density over the run; None for none.
        feedback: the share of a gap that is made good per unit of eta. 2 was best of 1, 2, 4, 8 on Gaussians of unequal
            widths at 100 and 500 steps.
        kappa_range: weights are held within it, if given.
        least: added to C's diagonal in the predictable form. Where scores are so alike, densities change by less than
            its root in nats per step, and the weights stay near 1 / N.

    Raises:
        ValueError: for a feedback that is not positive, or an empty range.
    """

    count: int
    uses_noise: bool = False
    lift: tuple[float, ...] | None = None
    feedback: float = 2.0
    kappa_range: tuple[float, float] | None = None
    least: float = 0.01

    needs_reference = False
    weighted = False
    total = 1.0

    def __post_init__(self) -> None:
        if not self.feedback > 0:
            raise ValueError(f"feedback is {self.feedback}; give more than 0")
        if self.kappa_range is not None and not self.kappa_range[0] <= 1 / self.count <= self.kappa_range[1]:
            raise ValueError(f"kappa_range is {tuple(self.kappa_range)}; give a range that holds 1 / {self.count}")

    def combine(self, now: Situation) -> Combination:
        weights = torch.full_like(now.relative, 1 / self.count)
        if not now.step.early and self.count > 1:
            weights = weights + self._solved(now)
            if self.kappa_range is not None:
                weights = weights.clamp(*self.kappa_range)
                weights = weights + (1 - weights.sum(1, keepdim=True)) / self.count
        return combined(now.scores, now.prompts(), weights, now.relative.amin(1))

    def _solved(self, now: Situation) -> Tensor:
        """xi, (groups, prompts)."""
        scores, step = now.scores, now.step
        rows = slice(scores.noise - self.count, scores.noise)
        alike = scores.gram[:, rows, rows]
        wanted = self._wanted(now) / (step.drift * now.gain) + alike.diagonal(dim1=1, dim2=2) / 2
        if now.guidance_scale != 1:
            wanted = wanted + (now.guidance_scale - 1) * scores.gram[:, scores.noise - self.count - 1, rows]
        if self.uses_noise:
            wanted = wanted - step.variance**0.5 / step.drift * scores.gram[:, scores.noise, rows]
        wanted = _centred(wanted) / now.guidance_scale
        # What is below rounding tells nothing; and without the noise, weights need not be large to close a small gap.
        precision = torch.finfo(alike.dtype).eps
        floor = (ROUNDING * precision) ** 2 * scores.gram[:, MEAN, MEAN] + (0.0 if self.uses_noise else self.least)
        size = (alike.diagonal(dim1=1, dim2=2).mean(1) + floor)[:, None, None]
        ridge = (10 * precision + floor[:, None, None] / size) * torch.eye(
            self.count, dtype=alike.dtype, device=alike.device
        )
        # Rank one where all weights move alike, which the deviations do not see: the solution has sum 0.
        solved, _ = torch.linalg.solve_ex(alike / size + ridge + 1 / self.count, wanted[:, :, None] / size)
        return solved[:, :, 0]

    def _wanted(self, now: Situation) -> Tensor:
        """What each log-density is to gain in the step, (groups, prompts), but for a common summand."""
        lift = columns(self.lift or (0.0,) * self.count, now.relative[:, 0])
        made_good = 1.0 if self.uses_noise else min(1.0, self.feedback * now.step.drift)
        return now.step.share * lift + made_good * (now.step.progress * lift - now.relative)


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(1, keepdim=True)
