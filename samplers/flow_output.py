"""What a step of `FlowSDEScheduler` gives, and how likely it was."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers.utils import BaseOutput
from torch import Tensor


@dataclass
class FlowSDESchedulerOutput(BaseOutput):
    """Output of `FlowSDEScheduler.step`.

    Args:
        prev_sample (`torch.Tensor`): the sample at the next time, the next input of the model.
        pred_original_sample (`torch.Tensor`): the clean sample that the model's output implies.
        prev_sample_mean (`torch.Tensor`): mean of `prev_sample` given `sample`.
        std (`torch.Tensor`): its standard deviation, a scalar; 0 for the ODE and at the last step.
        log_prob (`torch.Tensor`, *optional*): log-density of `prev_sample`, *averaged* over the elements of each row,
            `(batch,)`; None where the step has no noise.
    """

    prev_sample: Tensor
    pred_original_sample: Tensor | None = None
    prev_sample_mean: Tensor | None = None
    std: Tensor | None = None
    log_prob: Tensor | None = None


def log_density(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """log N(x; mean, std^2) of samples (batch, ...), averaged over the elements of each row: (batch,)."""
    elements = -((x - mean) ** 2) / (2 * std**2) - torch.log(std) - 0.5 * math.log(2 * math.pi)
    return elements.flatten(1).mean(1)
