"""Steps that freeze the posterior's mean: they differ in how much of the old noise the new one keeps.

With the clean sample z given, x_t = alpha z + sigma eps and x_t' = alpha' z + sigma' eps' are on the path for any
correlation rho of eps and eps'. One step that puts x0-hat in the place of z is

    x' = alpha' x0-hat + sigma' (rho eps-hat + sqrt(1 - rho^2) w),  w ~ N(0, I)

DDPM, PRECISE, CPS, and a GLASS transition of one inner step are this with their own rho: 1 is DDIM, and 0 noises x0-hat
anew. All of it holds along any path.
"""

from __future__ import annotations

from torch import Tensor

from ..interpolants import Interpolant
from .base import LinearKernels


def correlation(times: Tensor, path: Interpolant, kappa: float) -> tuple[Tensor, Tensor]:
    """rho_DDPM^kappa of each step, and sqrt(1 - rho^2), both (steps,), exact where rho is near 1.

    rho_DDPM = (sigma' / alpha') / (sigma / alpha) is the correlation of the path's own forward process, so that at
    kappa = 1 the transition is that process reversed; t' (1 - t) / (t (1 - t')) on the linear path.

    Args:
        times, path: as in `Transition.along`.
        kappa: at least 0; 0 for rho = 1.
    """
    if kappa == 0:
        ones = times[1:] * 0 + 1
        return ones, 0 * ones
    log_snr = path.log_snr(times)
    log_rho = kappa / 2 * (log_snr[:-1] - log_snr[1:])
    return log_rho.exp(), (-(2 * log_rho).expm1()).sqrt()


def frozen_kernels(times: Tensor, path: Interpolant, rho: Tensor | float, fresh: Tensor | float) -> LinearKernels:
    """The step above, from rho and sqrt(1 - rho^2)."""
    alpha, sigma = path.alpha(times[1:]), path.sigma(times[1:])
    return LinearKernels(std=sigma * fresh, a=alpha, b=sigma * rho)
