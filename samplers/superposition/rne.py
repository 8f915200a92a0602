"""The Radon-Nikodym estimator with a Gaussian reference (He et al., arXiv 2506.05668, section 3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .ito import moved, plain_change
from .scores import SAMPLE, Scores
from .steps import Step


@dataclass(frozen=True)
class RadonNikodym:
    """The log-density changes by log B_i - log B_q + log q(x') - log q(x), with q the density of Gaussian data.

    B_i and B_q are the reverse kernels of model i and of q. That of q is exact; both get its variance, so that what
    their Gaussian form has wrong cancels where model i is like q, and the forward kernels cancel exactly. With
    N(0, c^2) in the data,

        log B_i - log B_q = (c^2 + s^2) / (c^2 + s'^2) (I_i - I_q),

    where I is Ito's change in a step of finite length. So the estimator is Ito's with a gain, and with the reference as
    a control variate. The absolute log-density gains most (its bias at 50 steps falls by an order of magnitude); the
    reference itself cancels from differences.

    Args:
        data_std: c, the standard deviation of the clean data's elements; latents are scaled to about 1. Positive.

    Raises:
        ValueError: for another.
    """

    data_std: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.data_std < math.inf:
            raise ValueError(f"data_std is {self.data_std}; give the standard deviation of the data, above 0")

    def gain(self, step: Step) -> float:
        width = (self.data_std / step.ratio) ** 2
        return (width + 1) / (width + step.shrink**2)

    def change(self, scores: Scores, score: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        gain, width = self.gain(step), (self.data_std / step.ratio) ** 2
        delta = moved(scores, score, step)
        along = (delta[:, None] @ scores.gram)[:, 0]
        common, relative = plain_change(scores, along, step)
        # Of the reference, all in units of s: its score is -y / (c^2 + s^2), its log-density a square of y.
        here, now = scores.gram[:, SAMPLE, SAMPLE], along[:, SAMPLE]
        reference = -now / (width + 1) - step.drift / 2 * here / (width + 1) ** 2
        square = here + 2 * now + (along * delta).sum(1)
        density = here / (width + 1) / 2 - square / (width + step.shrink**2) / 2 + scores.elements * math.log(gain) / 2
        return gain * (common - reference) + density - scores.elements * step.log_scale, gain * relative
