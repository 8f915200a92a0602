"""Where the times of a flow's run lie: grids that are even in another clock than the linear path's."""

from __future__ import annotations

import torch
from torch import Tensor

from .interpolants import Linear, VariancePreserving

GRIDS = ("vp", "log-snr")
LOG_SNR_RANGE = (-7.0, 7.0)
"""Of the grid that is even in log-SNR: sigma from 0.9705 to 0.0293 on the linear path, and 1 before it."""


def time_grid(grid: str, steps: int) -> Tensor:
    """Decreasing times of the linear path, (steps,), float64: 1 first, the end at 0 left out.

    Args:
        grid: "vp", even in the clock of `VariancePreserving()`, or "log-snr", even between `LOG_SNR_RANGE`.
        steps: at least 1.
    """
    if grid == "vp":
        path = VariancePreserving()
        log_snr = path.log_snr(torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1])
    else:
        log_snr = torch.linspace(*LOG_SNR_RANGE, steps, dtype=torch.float64)
    times = Linear().time_at(log_snr)
    times[0] = 1.0
    return times
