"""Heun's method, of order 2, for the ODE: two model calls per step, one in the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ..interpolants import INTERPOLANTS, Interpolant, expand, matching_time
from .base import Kept, Kernels, Transition
from .euler_maruyama import EulerMaruyama, check_names, clock_scale


@dataclass(frozen=True, eq=False)
class HeunKernels(Kernels):
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

    def mean(self, call: int | Tensor, sample: Tensor, x0: Tensor, eps: Tensor, kept: Kept = ()) -> tuple[Tensor, Kept]:
        slope = expand(self.alpha_dot[call], x0) * x0 + expand(self.sigma_dot[call], eps) * eps
        begins = call % 2 == 0
        if isinstance(call, Tensor) or begins:
            euler = expand(self.a[call], x0) * x0 + expand(self.b[call], eps) * eps
            if not isinstance(begins, Tensor) or not kept:
                return euler, (slope,)
            corrected = sample + expand(self.half[call], sample) * (slope - kept[0])
            return torch.where(expand(begins, sample), euler, corrected), (slope,)
        if not kept:
            raise ValueError(f"step {call} is the second half of a Heun step; begin at an even index")
        return sample + self.half[call] * (slope - kept[0]), ()


@dataclass(frozen=True)
class Heun(Transition):
    """Euler's step, corrected by the slope at its end. It converges at second order, to the ODE's end.

    Args:
        interpolant: the path that steps are taken along, "linear" or "vp"; samples stay where they stand.

    Raises:
        ValueError: for an unknown name.
    """

    interpolant: str = "linear"

    noise: ClassVar[Literal["none", "diffusion", "own"]] = "none"

    def __post_init__(self) -> None:
        check_names(self.interpolant)

    @property
    def model_calls(self) -> int:
        return 2

    @property
    def is_stochastic(self) -> bool:
        return False

    def call_times(self, times: Tensor, path: Interpolant) -> Tensor:
        """t_0, t_1, t_1, t_2, t_2, ...: each step but the last calls the model at its end too."""
        return torch.cat([times[:1], times[1:-1].repeat_interleave(2), times[-1:]])

    def along(self, times: Tensor, path: Interpolant) -> HeunKernels:
        times = self.call_times(times, path)
        euler = EulerMaruyama(None, interpolant=self.interpolant).along(times, path)
        clock = INTERPOLANTS[self.interpolant]()
        s = matching_time(clock, path, times)
        ds = s.diff(prepend=s[:1])
        half = ds / 2 / clock_scale(clock, s, path, times)
        alpha_dot, sigma_dot, half = (values[:-1] for values in (clock.alpha_dot(s), clock.sigma_dot(s), half))
        return HeunKernels(std=euler.std, a=euler.a, b=euler.b, alpha_dot=alpha_dot, sigma_dot=sigma_dot, half=half)
