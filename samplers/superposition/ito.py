"""The Ito density estimator (Skreta et al., arXiv 2412.17762, theorem 1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .scores import FIRST_ROW, MEAN, Scores
from .steps import Step


def moved(scores: Scores, score: Tensor, step: Step) -> Tensor:
    """Coordinates of delta = (y' - y) / s, the step that is really made, (groups, size)."""
    delta = step.drift * score
    delta[:, scores.noise] += step.variance**0.5
    return delta


@dataclass(frozen=True)
class Ito:
    """d log q_i = <dy, s_i> - g^2 / 2 |s_i|^2 dt, of a sample y whose forward process has no drift.

    True for any drift of the path, guided or mixed, as long as the path's noise is the natural diffusion's. (Of the
    sample x = alpha y itself, d log alpha is taken off once per element: the theorem's divergence of f.)
    """

    def gain(self, step: Step) -> float:
        return 1.0

    def change(self, scores: Scores, score: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        along = (moved(scores, score, step)[:, None] @ scores.gram)[:, 0]
        common, relative = plain_change(scores, along, step)
        return common - scores.elements * step.log_scale, relative


def plain_change(scores: Scores, along: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    """<delta, zeta_i> - eta / 2 |zeta_i|^2, of the mean score and of each row beyond it.

    Args:
        scores: of the rows.
        along: inner products of delta with the basis, (groups, size).
        step: the one that is made.
    """
    rows = slice(FIRST_ROW, scores.noise)
    common = along[:, MEAN] - step.drift / 2 * scores.gram[:, MEAN, MEAN]
    squares = scores.differences.diagonal(dim1=1, dim2=2)
    return common, along[:, rows] - step.drift * (scores.gram[:, MEAN, rows] + squares / 2)
