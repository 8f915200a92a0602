"""A job that searches or steers, run for a visitor: Cancel ends it within a model call and keeps what had come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...pipelines.search.job import SearchJob
from .line import Stopped, Turn

if TYPE_CHECKING:
    from ...pipelines import BatchReport, SearchResult
    from ...verifiers import Verifier


def run_job(
    job: SearchJob,
    pipe: Any,
    load: Callable[[str], Verifier],
    folder: Path,
    turn: Turn,
    tell: Callable[[BatchReport], None],
) -> SearchResult | None:
    """The result of a job; of one that was cancelled, of what had come.

    Args:
        job: checked.
        pipe: the pipeline that it names.
        load: gives a verifier by its name.
        folder: for records and pictures.
        turn: of the visitor.
        tell: is handed each batch of nodes.

    Returns:
        None where it was cancelled before anything had come.

    Raises:
        ValueError: where the job cannot be run.
    """
    last: BatchReport | None = None

    def on_batch(report: BatchReport) -> bool:
        nonlocal last
        last = report
        tell(report)
        return not turn.stopped

    with suppress(Stopped), turn.stops(pipe):
        return replace(job, output=str(folder)).run(pipe, load=load, progress=False, on_batch=on_batch)
    return None if last is None else last.result()
