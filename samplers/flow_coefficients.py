"""The numbers of one step of a flow: everything that `FlowSDEScheduler` needs beside the model's output.

A flow is an ODE, dx = u dt. For any g >= 0 the reverse SDE dx = (u - g^2 / 2 s) dt + g dW, dt < 0, has the same
marginals (Kim et al., arXiv 2503.19385), with the score s = -eps / sigma. One step is linear in the model's clean
prediction x0 and noise eps, so it is three numbers, x' = a x0 + b eps + std z.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .interpolants import Interpolant, Linear, VariancePreserving

DIFFUSIONS = ("square", "linear", "constant", "natural")
INTERPOLANTS = ("linear", "vp")
INTEGRATORS = ("euler-maruyama", "cps", "heun")
GRIDS = ("vp", "log-snr")
LOG_SNR_RANGE = (-7.0, 7.0)
"""Of the grid that is even in log-SNR: sigma from 0.9705 to 0.0293 on the linear path, and 1 before it."""


def diffusion_squared(diffusion: str | None, norm: float, path: Interpolant, s: Tensor) -> Tensor:
    """g^2 at the path's time s; `diffusion` names g: norm s^2, norm s, norm, or natural.

    natural is norm^2 (2 sigma sigma' - 2 alpha' / alpha sigma^2), the diffusion of the forward process at norm 1;
    infinite where alpha is 0.
    """
    match diffusion:
        case None:
            return torch.zeros_like(s)
        case "square":
            return (norm * s * s) ** 2
        case "linear":
            return (norm * s) ** 2
        case "constant":
            return torch.full_like(s, norm**2)
        case "natural":
            alpha, sigma = path.alpha(s), path.sigma(s)
            return norm**2 * 2 * sigma * (path.sigma_dot(s) - path.alpha_dot(s) / alpha * sigma)
    raise ValueError(f"unknown diffusion {diffusion!r}; known: {', '.join(DIFFUSIONS)}, or None for the ODE")


def step_coefficients(
    t: Tensor, t_next: Tensor, path: Interpolant, diffusion: str | None, norm: float, integrator: str = "euler-maruyama"
) -> tuple[Tensor, Tensor, Tensor]:
    """(a, b, std) of the step x' = a x0 + b eps + std z from time t to t_next of the linear path.

    The step is taken along `path`, at equal signal-to-noise ratio, and its result brought back to the linear path's
    coordinates, in which the pipeline keeps its sample. g is capped so that a step adds no more noise than the path
    holds at the step's end: any g has the same marginals, the cap keeps steps stable near the data, makes g finite at
    sigma = 1, and makes the last step the ODE's.

    Args:
        t, t_next: float64, (steps,), t > t_next, in [0, 1].
        path: `Linear()` or `VariancePreserving()`; a path that does not reach pure noise starts from its noisiest time.
        diffusion, norm: see `diffusion_squared`.
        integrator: "euler-maruyama", or "cps", which keeps the noise level of the path exactly (Wang and Yu, arXiv
            2509.05952): std = sigma' sin(eta pi / 2) with eta = norm and b^2 + std^2 = sigma'^2. It
            adds the same share of noise at every step, however small: made for few steps, it has no SDE as its limit
            and keeps no marginals.
    """
    if integrator == "cps":
        std = t_next * math.sin(norm * math.pi / 2) * (0.0 if diffusion is None else 1.0)
        return 1 - t_next, (t_next**2 - std**2).clamp_min(0).sqrt(), std
    s, s_next = time_along(path, t), time_along(path, t_next)
    scale = path.alpha(s_next) + path.sigma(s_next)  # alpha + sigma is 1 on the linear path
    ds = s_next - s
    alpha, sigma = path.alpha(s), path.sigma(s)
    added = torch.minimum(-ds * diffusion_squared(diffusion, norm, path, s), path.sigma(s_next) ** 2)
    a = (alpha + ds * path.alpha_dot(s)) / scale
    b = (sigma + ds * path.sigma_dot(s) - added / (2 * sigma)) / scale
    return a, b, added.sqrt() / scale


def time_along(path: Interpolant, t: Tensor) -> Tensor:
    """The path's time of the same signal-to-noise ratio as the linear path's t; its noisiest where t is noisier."""
    if isinstance(path, Linear):
        return t
    noisiest = path.log_snr(torch.ones_like(t))
    return path.time_at(Linear().log_snr(t).clamp_min(noisiest))


def heun_coefficients(times: Tensor, path: Interpolant) -> tuple[Tensor, Tensor, Tensor]:
    """(alpha', sigma', half) of Heun's method, x' = x_euler + half (d(t') - d(t)) with d = alpha' x0 + sigma' eps.

    Args:
        times: float64, (2 steps,): t_0, t_1, t_1, t_2, t_2, ... 0, as `interleave` makes them; the model is called at
            all but the last. `half` belongs to the second call of a step, at the odd indices.
        path: the path that the step is taken along.
    """
    s = time_along(path, times)
    ds = s.diff(prepend=s[:1])
    half = ds / 2 / (path.alpha(s) + path.sigma(s))
    return tuple(values[:-1] for values in (path.alpha_dot(s), path.sigma_dot(s), half))


def interleave(values: Tensor) -> Tensor:
    """v_0, v_1, v_1, v_2, v_2, ...: a two-call method's times."""
    return torch.cat([values[:1], values[1:].repeat_interleave(2)])


def time_grid(grid: str, steps: int) -> Tensor:
    """Decreasing times of the linear path, (steps,), float64: 1 first, the end at 0 left out.

    Args:
        grid: "vp", even in the clock of `VariancePreserving()`, or "log-snr", even between `LOG_SNR_RANGE`.
        steps: at least 1.
    """
    linear = Linear()
    if grid == "vp":
        path = VariancePreserving()
        log_snr = path.log_snr(torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1])
    else:
        log_snr = torch.linspace(*LOG_SNR_RANGE, steps, dtype=torch.float64)
    times = linear.time_at(log_snr)
    times[0] = 1.0
    return times
