"""Time shift in a search: each candidate has the time that fits it, so that it depends on no batch mate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ..samplers import TimeShiftScheduler, apply_per_sample_time
from .loop_schedulers import check_rows_are_candidates, check_scheduler_is_used, loop_schedulers


@contextmanager
def own_times(pipe: Any, batch_size: int) -> Iterator[None]:
    """Apply the paper's per-sample shift while the context is open, where the pipeline's scheduler shifts times.

    Raises:
        ValueError: for a time shift that the pipeline does not run with, and for the reference variant with more than
            one candidate per call: it shifts a whole batch. Within the pipeline's first call, before any NFE, where a
            network's time is not understood.
    """
    with ExitStack() as stack:
        if isinstance(getattr(pipe, "scheduler", None), TimeShiftScheduler):
            check_scheduler_is_used(pipe)
        for scheduler in loop_schedulers(pipe).values():
            if isinstance(scheduler, TimeShiftScheduler) and scheduler.config.window > 0:
                check_rows_are_candidates(pipe)
                _check_variant(scheduler, batch_size)
                if not scheduler.per_sample:
                    stack.callback(apply_per_sample_time(pipe, scheduler, most_rows=batch_size).remove)
        yield


def _check_variant(scheduler: TimeShiftScheduler, batch_size: int) -> None:
    if scheduler.config.variant == "reference" and batch_size > 1:
        raise ValueError(
            "time shift's reference variant shifts a batch as one, so that candidates would depend on their batch "
            'mates; set batch_size=1, or variant="paper"'
        )
