"""Where a pipeline's loop stands at a call of its denoiser, read from the pipeline's scheduler.

Seam: pipelines tell a hook nothing of their loop. But they iterate views of `scheduler.timesteps`, so the storage of
the time that a network gets tells which entry it is; where a pipeline converts the time (FLUX divides it), schedulers
count their steps themselves; and where neither tells, the guided calls since `set_timesteps` are counted. No host sync.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..live_timesteps import position
from ..wrapped import Wrapped, innermost


@dataclass(frozen=True)
class LoopPosition:
    """A model call in its run.

    Attributes:
        index: of the call in the scheduler's whole list of times; an image-to-image run begins above 0.
        total: entries of that list.
    """

    index: int
    total: int

    def is_within(self, start: float, stop: float) -> bool:
        """Whether it is in [start, stop), shares of the list."""
        return start * self.total <= self.index < stop * self.total


class LoopClock:
    """Reads a pipeline's position, and tells when a new run begins.

    Args:
        pipe: whose `scheduler` is read; it may be replaced between runs.
    """

    def __init__(self, pipe: Any):
        self._pipe = pipe
        self._times: Tensor | None = None
        self._calls = 0

    def begins_run(self) -> bool:
        """Whether `set_timesteps` was called since this was last asked."""
        times = self._pipe.scheduler.timesteps
        before, self._times = self._times, times  # held, so that its storage is nobody else's
        if before is not None and (before.data_ptr(), len(before)) == (times.data_ptr(), len(times)):
            return False
        self._calls = 0
        return True

    def count(self) -> None:
        """A guided step's last call was made."""
        self._calls += 1

    def read(self, timestep: Any) -> LoopPosition:
        """The position of a call.

        Args:
            timestep: as the network gets it.
        """
        scheduler = self._pipe.scheduler
        total = len(innermost(scheduler).timesteps)
        index = _entry(scheduler, timestep)
        for counted in (getattr(scheduler, "step_index", None), getattr(scheduler, "begin_index", None)):
            index = counted if index is None else index
        return LoopPosition(min(self._calls if index is None else int(index), total - 1), total)


def _entry(scheduler: Any, timestep: Any) -> int | None:
    """Index in the whole run of a time that is a view of an entry; of wrapped ones the innermost knows it best."""
    found = position(scheduler.timesteps, timestep)
    while isinstance(scheduler, Wrapped):
        scheduler = scheduler.child
        inner = position(scheduler.timesteps, timestep)
        found = found if inner is None else inner
    return found
