"""DDPM's ancestral step, DDIM at eta = 1, on any path. Reference: Ho et al., arXiv 2006.11239, eqs. 6 and 7."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..interpolants import Interpolant
from .base import LinearKernels, Transition
from .correlation import correlation, frozen_kernels


@dataclass(frozen=True)
class Ddpm(Transition):
    """The exact reverse kernel p(x' | x, z) of the forward process, with the posterior's mean x0-hat in the place of z.

    What the posterior's own variance would add is missing, so few steps end with too little variance; it converges to
    the marginals with the number of steps, at first order. One model call per step. The same as `precise` at
    eta = sqrt(2) and `glass` with one inner step.
    """

    @property
    def is_stochastic(self) -> bool:
        return True

    def along(self, times: Tensor, path: Interpolant) -> LinearKernels:
        return frozen_kernels(times, path, *correlation(times, path, kappa=1.0))
