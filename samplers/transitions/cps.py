"""Coefficient-preserving sampling: noise of a share that is kept, for few steps. Reference: arXiv 2509.05952."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..interpolants import Interpolant
from .base import LinearKernels, Transition
from .correlation import frozen_kernels


@dataclass(frozen=True)
class CoefficientPreserving(Transition):
    """A step that keeps the path's noise level exactly, with a correlation rho = cos(eta pi / 2) (Wang and Yu).

    It adds the same share of noise at every step, however small: made for few steps, it has no SDE as its limit. At a
    fixed eta it does not converge: the variance stays too small at any number of steps. One model call per step. The
    same as `glass` with one inner step and a constant rho.

    Args:
        eta: noise level, in [0, 1]: 0 for the ODE (DDIM), 1 for all noise fresh.

    Raises:
        ValueError: for another eta.
    """

    eta: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta of cps is {self.eta}; give at least 0 and at most 1")

    @property
    def is_stochastic(self) -> bool:
        return math.sin(self.eta * math.pi / 2) > 0

    def along(self, times: Tensor, path: Interpolant) -> LinearKernels:
        angle = self.eta * math.pi / 2
        return frozen_kernels(times, path, math.cos(angle) if self.eta < 1 else 0.0, math.sin(angle))
