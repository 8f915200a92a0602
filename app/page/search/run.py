"""A search as work of the page: the job that a command line would run, told batch by batch."""

from __future__ import annotations

import math
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....pipelines.search.job import AUTO, SearchJob
from ..draws import Draw, draw_of, sight_on
from ..job_run import run_job
from ..judged import sights
from ..line import Stopped, Turn
from ..models import IN_HAND
from ..on_the_way import shown_on_the_way
from ..pictures import save_pictures
from ..studio import Studio
from .cost import CostEstimate
from .plan import Plan, planned
from .tried import Tried

if TYPE_CHECKING:
    from ....pipelines import BatchReport, NoiseSearch, SearchResult
    from ....pipelines.search.ledger import Ledger
    from ....pipelines.search.record import Record


@dataclass(frozen=True)
class Begun:
    """The models are ready.

    Attributes:
        folder: of the run.
        candidates: how many there will be; None where the search finds that out.
        nfe: the budget; None where the search finds that out.
        plan: of a search whose candidates do not all cost the same, where it can be told.
    """

    folder: Path
    candidates: int | None
    nfe: int | None
    plan: Plan | None = None


@dataclass(frozen=True)
class Batch:
    """Candidates that have come, and the cost so far."""

    records: list[Record]
    ledger: Ledger
    tried: list[Tried] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """The end of a search.

    Attributes:
        job: makes the same search again; of one that was cancelled, the part of it that was made. Where candidates do
            not all cost the same there is no such part, and it makes the whole.
        folder: of the run.
        result: all that was found.
        best: the chosen one; None where every candidate failed.
        first: what the seed alone gives: best-of-1.
        stopped: whether it was cancelled.
        notes: what the library warned of.
    """

    job: SearchJob
    folder: Path
    result: SearchResult
    best: Draw | None
    first: Draw | None
    stopped: bool
    notes: list[str] = field(default_factory=list)


def costs_alike(strategy: str) -> bool:
    """Whether all candidates of a strategy cost the same."""
    from ....samplers.strategies import make_strategy

    return make_strategy(strategy).costs_alike


def run_search(studio: Studio, costs: CostEstimate, asked: SearchJob, folder: Path, turn: Turn) -> Outcome | None:
    """Run a checked job; it reports `Loading`, `Begun`, `OnTheWay` and `Batch`.

    Args:
        studio: of the page.
        costs: of the tab; it learns what this search cost.
        asked: checked.
        folder: of this run alone.
        turn: of the visitor.

    Returns:
        None where it was cancelled before a candidate had come.

    Raises:
        ValueError: where the job cannot be run.
    """
    models, model = studio.models, asked.model or IN_HAND
    models.announce([model, *asked.verifiers, asked.judge], turn.report)
    from ....pipelines.search.auto_steps import allocate

    pipe = models.pipeline(model)
    load = partial(models.judge_or_guide, model=model)
    guide, judge = asked.load_verifiers(load)
    job = in_nfe(costs, asked)
    search = job.search(pipe, guide, judge)
    allocation = allocate(search.calibration, pipe, guide, job.budget, job.call_arguments)
    if allocation is None:
        plan = None if costs_alike(job.strategy) else _plan(costs, search, asked, job)
        turn.report(Begun(folder, job.candidates if plan is None else plan.begin, job.budget, plan))
    else:
        turn.report(Begun(folder, allocation.candidates, allocation.nfe))

    def tell(report: BatchReport) -> None:
        drawn()
        tried = _tried(report, judge, job.prompts[0])
        turn.report(Batch(list(report.records), replace(report.ledger), tried))

    # A search that pauses runs wraps the scheduler, which nobody may watch then; it has early looks of its own.
    whole = costs_alike(job.strategy)
    watched = shown_on_the_way(pipe, folder, turn.report) if whole else nullcontext(lambda: None)
    with watched as drawn:
        result = run_job(job, pipe, load, folder, turn, tell)
    if result is None:
        return None
    result.save(folder)
    best = None if result.failed else draw_of(result.best[0], judge, result.judge)
    first = None if result.failed else _recorded_first(result, job, judge)
    if first is None and best is not None and not turn.stopped:
        with suppress(Stopped), turn.stops(pipe):
            first = _drawn_first(search, result, job, folder)
    if costs_alike(job.strategy):
        costs.remember(asked, result.best[0].record.nfe, result.ledger.as_dict())
    if turn.stopped and costs_alike(job.strategy):
        steps = job.steps if allocation is None else allocation.num_inference_steps
        job = replace(job, steps=steps, budget=None, candidates=len(result.records))
    return Outcome(job, folder, result, best, first, turn.stopped, turn.notes)


def _tried(report: BatchReport, judge: Any, prompt: str) -> list[Tried]:
    """What came in a batch, and what the judge sees in each finished picture."""
    name = None if judge is None else judge.name
    tried = [Tried.of(record, name) for record in report.records]
    finished = [k for k, one in enumerate(tried) if one.finished and report.images[k] is not None]
    try:
        seen = sights(judge, [report.images[k] for k in finished], prompt)
    except ValueError:  # a clip, say: the score alone is shown
        seen = None
    for k, sight in zip(finished, seen or (), strict=seen is not None):
        tried[k] = tried[k].seen(sight)
    return tried


def _plan(costs: CostEstimate, search: NoiseSearch, asked: SearchJob, job: SearchJob) -> Plan | None:
    """How many candidates begin and finish, where one's cost is known."""
    candidate, steps = costs.candidate(asked), costs.steps(asked)
    if steps is None or (candidate is None and job.budget is not None):
        return None
    strategy = search.strategy
    if search.calibration is not None:
        strategy = strategy.informed(search.calibration.early_correlations(steps))
    return planned(strategy, candidate or steps, steps, job.budget, job.candidates, job.batch_size)


def in_nfe(costs: CostEstimate, job: SearchJob) -> SearchJob:
    """The job with its budget in NFEs, where its candidates do not all cost the same and one's cost is known."""
    if job.steps != AUTO and costs_alike(job.strategy):
        return job
    candidate = costs.candidate(job)
    if candidate is not None:
        return replace(job, budget=(job.candidates or 0) * candidate, candidates=None)
    if job.steps == AUTO:
        raise ValueError("what one candidate costs is not known here yet; search once with a number of steps first")
    return job


def _recorded_first(result: SearchResult, job: SearchJob, judge: Any) -> Draw | None:
    """The seed's own picture, where it is among the finished candidates."""
    for candidate in result.candidates[0]:
        if candidate.seed == job.seed and not candidate.lineage and candidate.source is not None:
            return draw_of(candidate, judge, result.judge)
    return None


def _drawn_first(search: NoiseSearch, result: SearchResult, job: SearchJob, folder: Path) -> Draw:
    """The seed's own picture, drawn now; no part of the search, nor of its ledger."""
    from ....pipelines.call import PipelineCall
    from ....pipelines.row import Row
    from ....pipelines.search.scoring import score_batch

    (prompt,) = job.prompts
    images, _ = PipelineCall(search.pipe, result.best[0].arguments)([Row(prompt, job.seed)])
    (file,) = save_pictures(images, [folder / "first.png"])
    guide, judge = search.verifier, search.judge
    (scored,) = score_batch(guide, images, [True], prompt, judge=judge)
    score = scored.scores.get(guide.name)
    sight = sight_on(judge, file, prompt, scored.scores.get(result.judge or ""))
    return Draw(file, job.seed, math.nan if score is None else score, sight)
