"""Euler-Maruyama, of weak order 1: of the ODE it is Euler's method. Reference: Kim et al., arXiv 2503.19385."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..diffusions import DIFFUSIONS, diffusion_squared
from ..interpolants import INTERPOLANTS, Interpolant, matching_time
from .base import LinearKernels, Transition


@dataclass(frozen=True)
class EulerMaruyama(Transition):
    """A step of the reverse SDE dx = (u - g^2 / 2 s) dt + g dW, dt < 0, with the score s = -eps / sigma.

    For any g >= 0 it has the marginals of dx = u dt. g is capped so that a step adds no more noise than the path holds
    at the step's end: the cap keeps steps stable near the data, makes g finite at sigma = 1, and makes the last step
    the ODE's. A path that does not reach pure noise starts from its noisiest time. It converges to the marginals with
    the number of steps; at few of them noise that the posterior does not have stays in the sample.

    Args:
        diffusion: names g (`diffusions.py`), None for the ODE.
        norm: factor of g, at least 0.
        interpolant: the path that steps are taken along, "linear" or "vp"; samples stay where they stand.

    Raises:
        ValueError: for unknown names, or a negative norm.
    """

    diffusion: str | None = "square"
    norm: float = 1.0
    interpolant: str = "linear"

    noise: ClassVar[Literal["none", "diffusion", "own"]] = "diffusion"

    def __post_init__(self) -> None:
        check_names(self.interpolant, self.diffusion)
        if not 0 <= self.norm < math.inf:
            raise ValueError(f"norm is {self.norm}; give at least 0")

    @property
    def is_stochastic(self) -> bool:
        return self.diffusion is not None and self.norm > 0

    def along(self, times: Tensor, path: Interpolant) -> LinearKernels:
        clock = INTERPOLANTS[self.interpolant]()
        s = matching_time(clock, path, times)
        scale = clock_scale(clock, s, path, times)[1:]
        s, s_next = s[:-1], s[1:]
        ds = s_next - s
        alpha, sigma = clock.alpha(s), clock.sigma(s)
        added = torch.minimum(-ds * diffusion_squared(self.diffusion, self.norm, clock, s), clock.sigma(s_next) ** 2)
        a = (alpha + ds * clock.alpha_dot(s)) / scale
        b = (sigma + ds * clock.sigma_dot(s) - added / (2 * sigma)) / scale
        return LinearKernels(std=added.sqrt() / scale, a=a, b=b)


def check_names(interpolant: str, diffusion: str | None = None) -> None:
    """Refuse names that are not known.

    Raises:
        ValueError: listing those that are.
    """
    for name, value, known in (
        ("diffusion", diffusion, (None, *DIFFUSIONS)),
        ("interpolant", interpolant, tuple(INTERPOLANTS)),
    ):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; known: {', '.join(map(str, known))}")


def clock_scale(clock: Interpolant, s: Tensor, path: Interpolant, t: Tensor) -> Tensor:
    """How much larger samples are on the clock's path at s than where they stand at t, of equal signal-to-noise."""
    return (clock.alpha(s) + clock.sigma(s)) / (path.alpha(t) + path.sigma(t))
