"""Time shift in a search: each candidate has the time that fits it, so that it depends on no batch mate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..samplers import TimeShiftScheduler, apply_per_sample_time


@contextmanager
def own_times(pipe: Any, batch_size: int) -> Iterator[None]:
    """Apply the paper's per-sample shift while the context is open, where the pipeline's scheduler shifts times.

    Raises:
        ValueError: for the reference variant with more than one candidate per call: it shifts a whole batch. Within the
            pipeline's first call, before any NFE, where a network's time is not understood.
    """
    scheduler = pipe.scheduler
    if not isinstance(scheduler, TimeShiftScheduler) or scheduler.config.window == 0:
        yield
        return
    if scheduler.config.variant == "reference" and batch_size > 1:
        raise ValueError(
            "time shift's reference variant shifts a batch as one, so that candidates would depend on their batch "
            'mates; set batch_size=1, or variant="paper"'
        )
    if scheduler.per_sample:
        yield
        return
    applied = apply_per_sample_time(pipe, scheduler, most_rows=batch_size)
    try:
        yield
    finally:
        applied.remove()
