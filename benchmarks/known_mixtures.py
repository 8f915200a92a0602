"""Mixtures of Gaussians whose scores and densities are known at every noise level: the truth of scripts beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True, eq=False)
class Mixture:
    """Isotropic Gaussians of one width, all as likely.

    Attributes:
        centres: (centres, elements), float64.
        width: of each Gaussian, in the data.
    """

    centres: torch.Tensor
    width: float

    def log_density(self, x: torch.Tensor, alpha: Any, sigma: Any) -> torch.Tensor:
        """At samples (points, elements) of a noise level: (points,)."""
        variance = alpha**2 * self.width**2 + sigma**2
        squares = (x[:, None] - alpha * self.centres).square().sum(2)
        scale = math.log(len(self.centres)) + x.shape[1] / 2 * math.log(2 * math.pi * float(variance))
        return torch.logsumexp(-squares / (2 * variance), 1) - scale

    def clean(self, x: torch.Tensor, alpha: Any, sigma: Any) -> torch.Tensor:
        """E[x_0 | x]: of each Gaussian, weighted by what it has to do with x."""
        variance = alpha**2 * self.width**2 + sigma**2
        apart = x[:, None] - alpha * self.centres
        weights = (-apart.square().sum(2) / (2 * variance)).softmax(1)
        return (weights[:, :, None] * (self.centres + alpha * self.width**2 / variance * apart)).sum(1)

    def eps(self, x: torch.Tensor, alpha: Any, sigma: Any) -> torch.Tensor:
        """The noise that an exact model predicts."""
        return (x - alpha * self.clean(x, alpha, sigma)) / sigma

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Clean points, (count, elements)."""
        chosen = self.centres[torch.randint(len(self.centres), (count,), generator=generator)]
        return chosen + self.width * torch.randn(chosen.shape, generator=generator, dtype=torch.float64)


def sixteen() -> list[Mixture]:
    """Two mixtures of three Gaussians in 16 dimensions, of unequal widths: equal ones hide errors."""
    draw = torch.Generator().manual_seed(5)
    return [Mixture(0.6 * torch.randn(3, 16, generator=draw, dtype=torch.float64), width) for width in (0.5, 0.8)]
