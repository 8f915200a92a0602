"""What a step of a transition gives, and how likely it was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import torch
from diffusers.utils import BaseOutput
from torch import Tensor


@dataclass
class TransitionOutput(BaseOutput):
    """Output of `FlowSDEScheduler.step` and `DiffusionSDEScheduler.step`.

    Args:
        prev_sample (`torch.Tensor`): the sample at the next time, the next input of the model.
        pred_original_sample (`torch.Tensor`): the clean sample that the model's output implies.
        prev_sample_mean (`torch.Tensor`): mean of `prev_sample` given `sample`.
        std (`torch.Tensor`): its standard deviation, a scalar; 0 where the model call adds no noise.
        log_prob (`torch.Tensor`, *optional*): log-density of `prev_sample`, *averaged* over the elements of each row,
            `(batch,)`; None where the model call adds no noise.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None
    prev_sample_mean: Tensor | None = None
    std: Tensor | None = None
    log_prob: Tensor | None = None

    @classmethod
    def of(cls, sample: Tensor, x0: Tensor, mean: Tensor, std: Tensor, noisy: bool) -> Self:
        """What a model call led to; `noisy`: whether it added noise."""
        return cls(sample, x0, mean, std, log_density(sample.float(), mean, std) if noisy else None)


def log_density(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N(x; mean, std^2) of samples (batch, ...), averaged over the elements of each row: (batch,)."""
    elements = -((x - mean) ** 2) / (2 * std**2) - torch.log(std) - 0.5 * math.log(2 * math.pi)
    return elements.flatten(1).mean(1)
