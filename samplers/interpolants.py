"""Paths between data and noise: x_t = alpha(t) x_0 + sigma(t) eps, from t = 0 (data) to the noise end.

Every method that knows where on the path a sample stands is built on these few functions of time. All take a time as a
tensor of any shape and return tensors of that shape, computed in float32 (float64 stays), with no host sync.
What a model predicts along a path, and how one prediction becomes another, is in `predictions.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from . import compat


def _precise(t: Tensor) -> Tensor:
    return t if t.dtype == torch.float64 else t.float()


class Interpolant(ABC):
    """A path, as the functions alpha and sigma of time.

    alpha falls and sigma / alpha rises strictly with time, so the log signal-to-noise ratio has an inverse.
    """

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """Factor of the data."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        """Factor of the noise."""

    @abstractmethod
    def alpha_dot(self, t: Tensor) -> Tensor:
        """d alpha / dt."""

    @abstractmethod
    def sigma_dot(self, t: Tensor) -> Tensor:
        """d sigma / dt."""

    @abstractmethod
    def time_at(self, log_snr: Tensor) -> Tensor:
        """The inverse of `log_snr`."""

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha^2 / sigma^2); +inf at the data end, -inf where alpha is 0."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def log_snr_dot(self, t: Tensor) -> Tensor:
        """d log_snr / dt."""
        return 2 * (self.alpha_dot(t) / self.alpha(t) - self.sigma_dot(t) / self.sigma(t))


class Linear(Interpolant):
    """Rectified flow (Liu et al., arXiv 2209.03003): alpha = 1 - t, sigma = t, t in [0, 1]."""

    def alpha(self, t: Tensor) -> Tensor:
        return 1 - _precise(t)

    def sigma(self, t: Tensor) -> Tensor:
        return _precise(t)

    def alpha_dot(self, t: Tensor) -> Tensor:
        return -torch.ones_like(_precise(t))

    def sigma_dot(self, t: Tensor) -> Tensor:
        return torch.ones_like(_precise(t))

    def log_snr(self, t: Tensor) -> Tensor:
        t = _precise(t)
        return 2 * (torch.log1p(-t) - t.log())

    def log_snr_dot(self, t: Tensor) -> Tensor:
        t = _precise(t)
        return -2 / (t * (1 - t))

    def time_at(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-_precise(log_snr) / 2)


class VariancePreserving(Interpolant):
    """VP with a linear beta (Song et al., arXiv 2011.13456): alpha = exp(-T / 2), sigma^2 = 1 - exp(-T).

    T(t) = beta_min t + (beta_max - beta_min) t^2 / 2, t in [0, 1].
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0):
        if not 0 < beta_min <= beta_max:
            raise ValueError(f"beta_min is {beta_min} and beta_max {beta_max}; give 0 < beta_min <= beta_max")
        self.beta_min = beta_min
        self.beta_max = beta_max

    def _integral(self, t: Tensor) -> Tensor:
        return self.beta_min * t + (self.beta_max - self.beta_min) * t * t / 2

    def _beta(self, t: Tensor) -> Tensor:
        return self.beta_min + (self.beta_max - self.beta_min) * t

    def alpha(self, t: Tensor) -> Tensor:
        return (-self._integral(_precise(t)) / 2).exp()

    def sigma(self, t: Tensor) -> Tensor:
        return (-torch.expm1(-self._integral(_precise(t)))).sqrt()

    def alpha_dot(self, t: Tensor) -> Tensor:
        t = _precise(t)
        return -self._beta(t) / 2 * self.alpha(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        t = _precise(t)
        return self._beta(t) / 2 * (-self._integral(t)).exp() / self.sigma(t)

    def log_snr(self, t: Tensor) -> Tensor:
        return -torch.expm1(self._integral(_precise(t))).log()

    def log_snr_dot(self, t: Tensor) -> Tensor:
        t = _precise(t)
        return self._beta(t) / torch.expm1(-self._integral(t))

    def time_at(self, log_snr: Tensor) -> Tensor:
        integral = F.softplus(-_precise(log_snr))
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + (self.beta_min**2 + 2 * slope * integral).sqrt())


INTERPOLANTS: dict[str, type[Interpolant]] = {"linear": Linear, "vp": VariancePreserving}
"""Paths that steps are taken along, by the names that schedulers and transitions take."""


class NoiseRatio(Interpolant):
    """Time is sigma / alpha itself, which diffusers calls sigma in most of its solvers.

    Args:
        preserving: alpha^2 + sigma^2 = 1; False: alpha = 1 (Karras et al., arXiv 2206.00364).
    """

    def __init__(self, preserving: bool = True):
        self.preserving = preserving

    def alpha(self, t: Tensor) -> Tensor:
        t = _precise(t)
        return (1 + t * t).rsqrt() if self.preserving else torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return _precise(t) * self.alpha(t)

    def alpha_dot(self, t: Tensor) -> Tensor:
        t = _precise(t)
        return -t * self.alpha(t) ** 3 if self.preserving else torch.zeros_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return self.alpha(t) ** 3

    def time_at(self, log_snr: Tensor) -> Tensor:
        return (-_precise(log_snr) / 2).exp()


class Tabulated(Interpolant):
    """The path of a scheduler with a table of training times: log-SNR, linear between the entries and beyond the ends.

    Time is the training timestep, 0 to `len(table) - 1`.

    Args:
        log_snr_table: strictly falling, (training steps,).
        preserving: alpha^2 + sigma^2 = 1 (DDPM, DDIM, DPM-Solver); False: alpha = 1 (the coordinates of Euler, Heun,
            LMS and others, where `scale_model_input` is called).

    Raises:
        ValueError: for a table that does not fall strictly.
    """

    def __init__(self, log_snr_table: Tensor, preserving: bool = True):
        table = log_snr_table.detach().double().flatten()
        if len(table) < 2 or not bool((table.diff() < 0).all()) or not bool(table.isfinite().all()):
            raise ValueError("the log-SNR table must be finite and fall strictly, with two entries at least")
        self.table = table
        self.preserving = preserving

    def _segment(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Value at the start of the segment that holds t, and its slope, in t's place and dtype."""
        table = self.table.to(t.device)
        k = t.floor().clamp(0, len(table) - 2).long()
        slope = table[k + 1] - table[k]
        return (table[k] + slope * (t.double() - k)).to(t.dtype), slope.to(t.dtype)

    def log_snr(self, t: Tensor) -> Tensor:
        return self._segment(_precise(t))[0]

    def log_snr_dot(self, t: Tensor) -> Tensor:
        return self._segment(_precise(t))[1]

    def time_at(self, log_snr: Tensor) -> Tensor:
        value = _precise(log_snr)
        table = self.table.to(value.device)
        wanted = value.double()
        k = (torch.searchsorted(-table, -wanted.contiguous(), right=True) - 1).clamp(0, len(table) - 2)
        return (k + (wanted - table[k]) / (table[k + 1] - table[k])).to(value.dtype)

    def alpha(self, t: Tensor) -> Tensor:
        log_snr = self.log_snr(t)
        return torch.sigmoid(log_snr).sqrt() if self.preserving else torch.ones_like(log_snr)

    def sigma(self, t: Tensor) -> Tensor:
        log_snr = self.log_snr(t)
        return torch.sigmoid(-log_snr).sqrt() if self.preserving else (-log_snr / 2).exp()

    def alpha_dot(self, t: Tensor) -> Tensor:
        if not self.preserving:
            return torch.zeros_like(_precise(t))
        return self.alpha(t) * self.log_snr_dot(t) * torch.sigmoid(-self.log_snr(t)) / 2

    def sigma_dot(self, t: Tensor) -> Tensor:
        share = torch.sigmoid(self.log_snr(t)) if self.preserving else 1.0
        return -self.sigma(t) * self.log_snr_dot(t) * share / 2


@dataclass(frozen=True)
class PathChange:
    """Where a sample of a target path at time s stands on a source path: x'_s = scale * x_time.

    Attributes:
        time: t on the source path, at equal signal-to-noise ratio.
        scale: c = sigma'_s / sigma_t = alpha'_s / alpha_t.
        time_dot: dt / ds.
        log_scale_dot: (dc / ds) / c.
    """

    time: Tensor
    scale: Tensor
    time_dot: Tensor
    log_scale_dot: Tensor

    def velocity(self, sample: Tensor, source_velocity: Tensor) -> Tensor:
        """The target path's velocity at its `sample`, from the source's at `sample / scale` (arXiv 2503.19385).

        u'(x', s) = (dc/ds) / c x' + c (dt/ds) u(x' / c, t).
        """
        return (
            expand(self.log_scale_dot, sample) * sample + expand(self.scale * self.time_dot, sample) * source_velocity
        )


def change_path(source: Interpolant, target: Interpolant, s: Tensor) -> PathChange:
    """Map times of `target` to `source` at equal signal-to-noise ratio; s inside of the open range of times."""
    t = source.time_at(target.log_snr(s))
    time_dot = target.log_snr_dot(s) / source.log_snr_dot(t)
    # alpha' / alpha is exact near the data, where sigma' / sigma is 0 / 0; near the noise it is the other way round.
    near_data = target.log_snr(s) > 0
    scale = torch.where(near_data, target.alpha(s) / source.alpha(t), target.sigma(s) / source.sigma(t))
    by_alpha = target.alpha_dot(s) / target.alpha(s) - time_dot * source.alpha_dot(t) / source.alpha(t)
    by_sigma = target.sigma_dot(s) / target.sigma(s) - time_dot * source.sigma_dot(t) / source.sigma(t)
    return PathChange(t, scale, time_dot, torch.where(near_data, by_alpha, by_sigma))


def matching_time(clock: Interpolant, path: Interpolant, t: Tensor) -> Tensor:
    """The clock's time of the same signal-to-noise ratio as the path's t; its noisiest where t is noisier."""
    if type(clock) is type(path) is Linear:
        return t
    noisiest = clock.log_snr(torch.ones_like(t))
    return clock.time_at(path.log_snr(t).clamp_min(noisiest))


def expand(values: Tensor, like: Tensor) -> Tensor:
    """Bring a time's values, a scalar or (batch,), to a shape that broadcasts over `like` (batch, ...)."""
    return values.reshape(values.shape + (1,) * (like.ndim - values.ndim)) if values.ndim else values


def from_scheduler(scheduler: Any) -> Interpolant:
    """The path that a diffusers scheduler moves its samples along, in the samples' own coordinates.

    A flow's scheduler gives `Linear` (its time is sigma, `timestep / num_train_timesteps`), or, where a pipeline runs
    it with sigmas far beyond 1, `NoiseRatio(preserving=False)`; one with `alphas_cumprod` gives `Tabulated` over its
    training timesteps, with alpha = 1 where the scheduler works with sigmas and scales the model's input.

    Raises:
        ValueError: for a scheduler that has none of them, or runs with inverted sigmas.
    """
    name = type(scheduler).__name__
    if scheduler.config.get("invert_sigmas"):
        raise ValueError(f"{name} runs with inverted sigmas, whose path is not known")
    if compat.is_linear_flow(scheduler):
        return Linear()
    if compat.grows_without_bound(scheduler):
        return NoiseRatio(preserving=False)
    alphas_cumprod = getattr(scheduler, "alphas_cumprod", None)
    if alphas_cumprod is None:
        raise ValueError(f"{name} has no alphas_cumprod and is no flow-matching scheduler: its path is not known")
    products = alphas_cumprod.double().clamp_min(torch.finfo(torch.float32).tiny)
    preserving = not _works_with_sigmas(scheduler)
    return Tabulated(torch.log(products) - torch.log1p(-products), preserving)


def _works_with_sigmas(scheduler: Any) -> bool:
    """Whether samples are x_0 + sigma eps: a sigma-based scheduler starts from noise of far more than unit variance."""
    start = getattr(scheduler, "init_noise_sigma", 1.0)
    return float(start) > 2.0
