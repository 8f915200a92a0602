"""The moving average of a network's weights, on `torch.optim.swa_utils.AveragedModel`, with a decay that may rise."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Decay = Callable[[int], float]
"""Of the n-th update (from 1), what stays of the average: a number in [0, 1]. 0 makes the average a copy."""


def rising_decay(update: int, limit: float, ahead: int, behind: int) -> float:
    """(ahead + n) / (behind + n), at most `limit`: early averages forget the first weights soon."""
    return min(limit, (ahead + update) / (behind + update))


def moving_average(networks: nn.Module, decay: Decay, buffers: bool = False) -> AveragedModel:
    """An average that starts at the present weights, on their device; `.module` is the averaged network.

    `average.update_parameters(networks)` moves it: average = decay(n) average + (1 - decay(n)) weights.

    Args:
        networks: of which a copy is made, in evaluation mode and without gradients.
        decay: of each update.
        buffers: whether floating-point buffers (a batch norm's statistics) are averaged as well; else they are copied.
    """

    @torch.no_grad()
    def follow(averaged: Sequence[Tensor], current: Sequence[Tensor], update: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(current), 1 - decay(int(update)))
        else:
            torch._foreach_copy_(list(averaged), list(current))  # a count of batches has no mean

    average = AveragedModel(networks, multi_avg_fn=follow, use_buffers=buffers).requires_grad_(False).eval()
    average.update_parameters(networks)  # its first update is a copy: so the first weights are counted, not the second
    return average
