"""Feynman-Kac weights by resampling: groups as particles that go on as often as their weights say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .steps import Step


def systematic(log_weights: Tensor, uniform: Tensor) -> Tensor:
    """Indices of the particles that go on, each floor or ceil of n times its share of the weights.

    Args:
        log_weights: (n,).
        uniform: one draw from [0, 1), a scalar.
    """
    count = len(log_weights)
    edges = log_weights.double().softmax(0).cumsum(0)
    places = (torch.arange(count, device=edges.device, dtype=edges.dtype) + uniform.to(edges)) / count
    return torch.searchsorted(edges, places.contiguous(), right=True).clamp_max(count - 1)


def effective_size(log_weights: Tensor) -> Tensor:
    """Effective sample size of n particles, from 1 to n."""
    shares = log_weights.double().softmax(0)
    return (1 / shares.square().sum()).to(log_weights)


@dataclass(frozen=True)
class Resampling:
    """When groups are resampled, and by which weights (Skreta et al., arXiv 2503.02819, section 3.3).

    Args:
        window: times on the linear path, `Step.time`, between which weights are gathered, (latest, earliest). Outside
            of it the sample follows the weighted score alone: near the noise the weights say little of the end, and
            near the data what is resampled can no longer part.
        clamp: a step's log-weights are centred over the groups and held within +-clamp, as in the authors' code; None
            for unbiased weights.
        threshold: groups are resampled where their effective number falls below this share of them; 1 for each step.

    Raises:
        ValueError: for an empty window, or a clamp or threshold out of range.
    """

    window: tuple[float, float] = (0.1, 0.9)
    clamp: float | None = 1.0
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.window[0] < self.window[1] <= 1:
            raise ValueError(f"the window of times is {tuple(self.window)}; give two rising times in [0, 1]")
        if self.clamp is not None and not 0 < self.clamp < math.inf:
            raise ValueError(f"clamp is {self.clamp}; give more than 0, or None for none")
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; give a share of the groups, above 0 and at most 1")

    def gathers(self, step: Step) -> bool:
        """Whether a step's weights count."""
        return step.tracked and self.window[0] <= step.time <= self.window[1]

    def gathered(self, log_weights: Tensor, rate: Tensor, step: Step) -> Tensor:
        """Log-weights after a step, (groups,), from those before it and its rate (`Combination`)."""
        change = step.drift / 2 * rate
        if self.clamp is not None:
            change = (change - change.mean()).clamp(-self.clamp, self.clamp)
        return log_weights + change

    def chosen(self, log_weights: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """The groups that go on, (groups,), and their log-weights; without a host sync."""
        groups = torch.arange(len(log_weights), device=log_weights.device)
        due = effective_size(log_weights) < self.threshold * len(log_weights)
        ancestors = torch.where(due, systematic(log_weights, uniform), groups)
        return ancestors, torch.where(due, torch.zeros_like(log_weights), log_weights)
