"""Heun's method, of order 2, for the ODE: two model calls per step, one in the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..interpolants import Interpolant, matching_time
from .base import Kept, Transition
from .euler_maruyama import EulerMaruyama


@dataclass(frozen=True, eq=False)
class Heun(Transition):
    """Euler's step, then its correction: x' = x_euler + half (d(t') - d(t)), with d = alpha' x0 + sigma' eps.

    Attributes:
        a, b: of Euler's step, at the even calls.
        alpha_dot, sigma_dot: of the path at each call.
        half: of the correction, at the odd calls.
    """

    a: Tensor
    b: Tensor
    alpha_dot: Tensor
    sigma_dot: Tensor
    half: Tensor

    model_calls: ClassVar[int] = 2
    stochastic: ClassVar[bool] = False

    @classmethod
    def call_times(cls, times: Tensor) -> Tensor:
        """t_0, t_1, t_1, t_2, t_2, ...: each step but the last calls the model at its end too."""
        return torch.cat([times[:1], times[1:].repeat_interleave(2)])

    @classmethod
    def along(cls, times: Tensor, path: Interpolant, diffusion: str | None, norm: float) -> Self:
        euler = EulerMaruyama.along(times, path, None, norm)
        s = matching_time(path, times)
        ds = s.diff(prepend=s[:1])
        half = ds / 2 / (path.alpha(s) + path.sigma(s))
        alpha_dot, sigma_dot, half = (values[:-1] for values in (path.alpha_dot(s), path.sigma_dot(s), half))
        return cls(std=euler.std, a=euler.a, b=euler.b, alpha_dot=alpha_dot, sigma_dot=sigma_dot, half=half)

    def mean(self, call: int | Tensor, sample: Tensor, x0: Tensor, eps: Tensor, kept: Kept = ()) -> tuple[Tensor, Kept]:
        slope = self.alpha_dot[call] * x0 + self.sigma_dot[call] * eps
        if call % 2 == 0:
            return self.a[call] * x0 + self.b[call] * eps, (slope,)
        if not kept:
            raise ValueError(f"step {call} is the second half of a Heun step; begin at an even index")
        return sample + self.half[call] * (slope - kept[0]), ()
