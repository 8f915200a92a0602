"""Coefficient-preserving sampling: noise of a share that is kept, for few steps. Reference: arXiv 2509.05952."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Self

from torch import Tensor

from ..interpolants import Interpolant
from .base import LinearTransition


@dataclass(frozen=True, eq=False)
class CoefficientPreserving(LinearTransition):
    """A step that keeps the noise level of the linear path exactly (Wang and Yu).

    std = sigma' sin(eta pi / 2) with eta = norm, and b^2 + std^2 = sigma'^2. It adds the same share of noise at every
    step, however small: made for few steps, it has no SDE as its limit and keeps no marginals.
    """

    largest_norm: ClassVar[float] = 1.0

    @classmethod
    def along(cls, times: Tensor, path: Interpolant, diffusion: str | None, norm: float) -> Self:
        t_next = times[1:]
        std = t_next * math.sin(norm * math.pi / 2) * (0.0 if diffusion is None else 1.0)
        return cls(std=std, a=1 - t_next, b=(t_next**2 - std**2).clamp_min(0).sqrt())
