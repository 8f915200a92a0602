"""A steered search and best-of-N for the same budget, as work of the page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ....pipelines.search.steer_job import SteerJob
from ..draws import Draw, draw_of
from ..job_run import run_job
from ..line import Turn
from ..models import IN_HAND
from ..studio import Studio
from .request import best_of_n

if TYPE_CHECKING:
    from ....pipelines import BatchReport, Candidate, SearchResult
    from ....pipelines.search.ledger import Ledger
    from ....pipelines.search.record import Record


@dataclass(frozen=True)
class Nodes:
    """Nodes that have come, and the cost so far.

    Attributes:
        folder: that holds their pictures.
        records: in their order.
        ledger: of the steered search.
    """

    folder: Path
    records: list[Record]
    ledger: Ledger


@dataclass(frozen=True)
class RivalSpent:
    """NFEs of best-of-N so far."""

    nfe: int


@dataclass(frozen=True)
class Outcome:
    """The end of both.

    Attributes:
        job: makes the same steered search again.
        folder: of it.
        result: of it.
        path: what was scored on the way to the chosen image, and that, last.
        best: the chosen image; None where there is none.
        rival: the chosen image of best-of-N; None where there is none, as after a cancel.
        rival_count: its candidates.
        stopped: whether it was cancelled.
        notes: what the library warned of.
    """

    job: SteerJob
    folder: Path
    result: SearchResult
    path: list[Candidate]
    best: Draw | None
    rival: Draw | None
    rival_count: int
    stopped: bool
    notes: list[str] = field(default_factory=list)


def run_steering(studio: Studio, job: SteerJob, folder: Path, turn: Turn) -> Outcome | None:
    """Run a checked job, then best-of-N; it reports `Loading`, `Nodes` and `RivalSpent`.

    Args:
        studio: of the page.
        job: checked.
        folder: of this run alone.
        turn: of the visitor.

    Returns:
        None where it was cancelled before a node had come.

    Raises:
        ValueError: where the job cannot be run.
    """
    models, model = studio.models, job.model or IN_HAND
    models.announce([model, *job.verifiers, job.judge], turn.report)
    pipe = models.pipeline(model)
    load = partial(models.judge_or_guide, model=model)
    _, judge = job.load_verifiers(load)
    steered = folder / "steered"

    def tell(report: BatchReport) -> None:
        turn.report(Nodes(steered, list(report.records), replace(report.ledger)))

    def tell_rival(report: BatchReport) -> None:
        turn.report(RivalSpent(report.ledger.nfe))

    result = run_job(job, pipe, load, steered, turn, tell)
    if result is None:
        return None
    result.save(steered)
    best = rival = None
    count = 0
    if not result.failed and result.best[0].finished:
        best = draw_of(result.best[0], judge, result.judge)
    if not turn.stopped:
        found = run_job(best_of_n(job), pipe, load, folder / "best_of_n", turn, tell_rival)
        if found is not None and not found.failed and not turn.stopped:
            rival, count = draw_of(found.best[0], judge, found.judge), len(found.candidates[0])
    path = [] if result.failed else result.path(result.best[0].record.index)
    return Outcome(job, steered, result, path, best, rival, count, turn.stopped, turn.notes)
