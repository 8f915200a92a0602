"""Euler-Maruyama, of weak order 1: of the flow's ODE it is Euler's method. Reference: Kim et al., arXiv 2503.19385."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..diffusions import diffusion_squared
from ..interpolants import Interpolant, matching_time
from .base import LinearTransition


@dataclass(frozen=True, eq=False)
class EulerMaruyama(LinearTransition):
    """A step of the reverse SDE dx = (u - g^2 / 2 s) dt + g dW, dt < 0, with the score s = -eps / sigma.

    For any g >= 0 it has the marginals of the flow dx = u dt. g is capped so that a step adds no more noise than the
    path holds at the step's end: the cap keeps steps stable near the data, makes g finite at sigma = 1, and makes the
    last step the ODE's. A path that does not reach pure noise starts from its noisiest time.
    """

    @classmethod
    def along(cls, times: Tensor, path: Interpolant, diffusion: str | None, norm: float) -> Self:
        s = matching_time(path, times)
        s, s_next = s[:-1], s[1:]
        scale = path.alpha(s_next) + path.sigma(s_next)  # alpha + sigma is 1 on the linear path
        ds = s_next - s
        alpha, sigma = path.alpha(s), path.sigma(s)
        added = torch.minimum(-ds * diffusion_squared(diffusion, norm, path, s), path.sigma(s_next) ** 2)
        a = (alpha + ds * path.alpha_dot(s)) / scale
        b = (sigma + ds * path.sigma_dot(s) - added / (2 * sigma)) / scale
        return cls(std=added.sqrt() / scale, a=a, b=b)
