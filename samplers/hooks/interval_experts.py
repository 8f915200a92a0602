"""IntervalExperts: a denoiser that is several, each for an interval of noise levels (Phased DMD, arXiv 2510.27684).

Seam: the pipeline's denoiser, in whose place it is set. Cost: none beside the experts' own; the call's time is read
once, which waits for the device.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .network_call import NetworkCall
from .routed_models import RoutedModels


class IntervalExperts(RoutedModels):
    """Routes each row to the expert of its time.

    ```python
    pipe.transformer = IntervalExperts([fine, coarse], boundaries=[600.0])
    ```

    Args:
        models: M denoisers of one class; the first has the times below the first boundary, the last those from the last
            boundary on.
        boundaries: M - 1 times in rising order, in the unit in which the network is called with them.

    Raises:
        ValueError: for less than two models, models of different classes or sizes of latents, boundaries of another
            number or order, and within its call for times that are neither one nor one per row.
    """

    use = "choose from by the time"

    def __init__(self, models: Sequence[nn.Module], boundaries: Sequence[float]):
        super().__init__(models)
        self.boundaries = tuple(float(one) for one in boundaries)
        if len(self.boundaries) != len(models) - 1 or list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError(
                f"boundaries are {list(boundaries)} for {len(models)} experts; give one time fewer than there are "
                "experts, in rising order"
            )

    def routes(self, rows: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
        """Number of the expert of each row of a call."""
        times = torch.as_tensor(NetworkCall.of(self.models[0], args, kwargs).timestep).flatten().tolist()
        experts = [bisect_right(self.boundaries, time) for time in times]
        if len(set(experts)) == 1:
            return experts[:1] * rows
        if len(experts) != rows:
            raise ValueError(f"{len(experts)} times for {rows} rows; experts by time take one, or one for each row")
        return experts
