"""Which time fits a sample's variance: the matching rule of time-shift sampling (Li et al., arXiv 2305.15583)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .interpolants import Tabulated
from .interpolants import from_scheduler as path_of


def forward_variance(child: Any, data_variance: float) -> Tensor:
    """Variance of a noised sample at each training time: alpha^2 data_variance + sigma^2, (training times,).

    Raises:
        ValueError: for a scheduler whose path is not known.
    """
    path = path_of(child)
    steps = child.config.num_train_timesteps
    times = torch.arange(steps + 1, dtype=torch.float64)
    times = times[:-1] if isinstance(path, Tabulated) else times / steps  # a flow's time runs from 0 to 1
    return (path.alpha(times) ** 2 * data_variance + path.sigma(times) ** 2).float()


def sigma_at(child: Any, time: Tensor) -> Tensor:
    """The child's own sigma at a training time."""
    path = path_of(child)
    if not isinstance(path, Tabulated):
        return time / child.config.num_train_timesteps
    return (-path.log_snr(time.float()) / 2).exp()


def row_variances(sample: Tensor) -> Tensor:
    """Unbiased variance of each row's own elements, (batch,)."""
    return sample.float().flatten(1).var(1)


def matching_times(variances: Tensor, table: Tensor, shared: bool) -> Tensor:
    """Indices into `table` whose variance is nearest to each row's, (batch,).

    Args:
        variances: of the rows, (batch,).
        table: forward variances of the candidate times, (candidates,).
        shared: one time for all rows, by the least mean squared mismatch: a scheduler alone gives one per batch.
    """
    mismatch = (variances[:, None] - table[None]).square()
    if shared:
        return mismatch.mean(0).argmin().expand(len(variances))
    return mismatch.argmin(1)
