"""Where a pipeline stands in its scheduler's `timesteps`, read without a host sync where that is possible."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def position(timesteps: Tensor, timestep: Any) -> int | None:
    """Index of `timestep` in `timesteps` where it is a view of one entry, as a pipeline's loop passes it; else None."""
    if not isinstance(timestep, Tensor) or (timestep.device, timestep.dtype) != (timesteps.device, timesteps.dtype):
        return None
    offset = timestep.data_ptr() - timesteps.data_ptr()
    return offset // timesteps.element_size() if 0 <= offset < timesteps.nbytes else None


def index_of(timesteps: Tensor, timestep: float | Tensor) -> int:
    """Index of a time in `timesteps`, the first where several are equal; without a host sync where it is a view.

    Raises:
        ValueError: for a time that is no entry.
    """
    if (index := position(timesteps, timestep)) is not None:
        return index
    equal = (timesteps.cpu() == float(timestep)).nonzero()
    if not len(equal):
        raise ValueError(f"timestep {float(timestep):g} is not on the grid; pass an entry of timesteps")
    return int(equal[0])
