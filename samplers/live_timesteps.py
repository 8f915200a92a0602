"""Where a pipeline stands in its scheduler's `timesteps`, read without a host sync."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def position(timesteps: Tensor, timestep: Any) -> int | None:
    """Index of `timestep` in `timesteps` where it is a view of one entry, as a pipeline's loop passes it; else None."""
    if not isinstance(timestep, Tensor) or (timestep.device, timestep.dtype) != (timesteps.device, timesteps.dtype):
        return None
    offset = timestep.data_ptr() - timesteps.data_ptr()
    return offset // timesteps.element_size() if 0 <= offset < timesteps.nbytes else None
