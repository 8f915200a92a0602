"""PRECISE: the reverse SDE's step in closed form, with the posterior's mean frozen. Reference: arXiv 2605.23522."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from ..interpolants import Interpolant
from .base import LinearKernels, Transition
from .correlation import correlation, frozen_kernels


@dataclass(frozen=True)
class Precise(Transition):
    """A step of correlation rho = rho_DDPM^(eta^2 / 2): of the SDE with g = eta sqrt(t / (1 - t)) on the linear path.

    No step is too long for it to be stable, where Euler-Maruyama's adds too much noise. It converges to the marginals
    with the number of steps; few of them end with too little variance, the less the larger eta is. One model call per
    step.

    Args:
        eta: noise level, at least 0: 0 for the ODE (DDIM), sqrt(2) for `ddpm`.

    Raises:
        ValueError: for a negative or infinite eta.
    """

    eta: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.eta < math.inf:
            raise ValueError(f"eta of precise is {self.eta}; give at least 0, such as 0.7")

    @property
    def is_stochastic(self) -> bool:
        return self.eta**2 > 0

    def along(self, times: Tensor, path: Interpolant) -> LinearKernels:
        return frozen_kernels(times, path, *correlation(times, path, kappa=self.eta**2 / 2))
