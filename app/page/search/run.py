"""A search as a job of the page: the same `NoiseSearch` as in a script, told batch by batch."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..line import Job, Stopped, Work
from ..models import Loading
from ..studio import Studio, overheard
from .cost import CostEstimate
from .request import AUTO, SearchRequest

if TYPE_CHECKING:
    from ....pipelines import NoiseSearch, SearchResult
    from ....pipelines.ledger import Ledger
    from ....pipelines.search.records import Record


@dataclass(frozen=True)
class Begun:
    """The models are ready.

    Attributes:
        folder: of the run.
        candidates: how many there will be; None where the search finds that out.
        nfe: the budget; None where the search finds that out.
    """

    folder: Path
    candidates: int | None
    nfe: int | None


@dataclass(frozen=True)
class Batch:
    """Candidates that have come, and the cost so far."""

    records: list[Record]
    ledger: Ledger


@dataclass(frozen=True)
class Draw:
    """A finished picture and what is known of it."""

    file: Path
    seed: int
    score: float
    verdict: str | None


@dataclass(frozen=True)
class Outcome:
    """The end of a search.

    Attributes:
        asked, size: what makes the same search again, `size` being `num_candidates` or `budget`; of one that was
            cancelled, what makes the part that was found. Halving has no such part: there they make the whole.
        result: None where it was cancelled before a candidate had come.
        best: the chosen one; None where every candidate failed.
        first: what the seed alone gives: best-of-1.
        stopped: whether it was cancelled.
        notes: what the library warned of.
    """

    asked: SearchRequest
    size: dict[str, int]
    folder: Path
    result: SearchResult | None
    best: Draw | None
    first: Draw | None
    stopped: bool
    notes: list[str] = field(default_factory=list)


def has_rungs(strategy: str) -> bool:
    """Whether its candidates do not all cost the same."""
    from ....samplers.strategies import STRATEGIES

    return getattr(STRATEGIES.get(strategy.partition(":")[0]), "has_rungs", False)


def search_job(studio: Studio, costs: CostEstimate, asked: SearchRequest, folder: Path) -> Work:
    """The work of a checked request; it reports `Loading`, `Begun` and `Batch`.

    Args:
        studio: of the page.
        costs: of the tab; it learns what this search cost.
        asked: checked.
        folder: of this run alone.
    """

    def work(job: Job) -> Outcome:
        with overheard() as notes:
            outcome = _work(studio, costs, asked, folder, job)
        outcome.notes.extend(notes)
        return outcome

    return work


def _work(studio: Studio, costs: CostEstimate, asked: SearchRequest, folder: Path, job: Job) -> Outcome:
    models = studio.models
    if new := [name for name in (asked.model, asked.verifier, asked.judge) if name and not models.has(name)]:
        job.report(Loading(new))
    from ....pipelines import NoiseSearch
    from ....pipelines.search.auto_steps import allocate

    pipe = models.pipeline(asked.model)
    guide, judge = (
        None if name is None else models.judge_or_guide(name, asked.model) for name in (asked.verifier, asked.judge)
    )
    calibration = models.calibration(asked.model, asked.verifier) if asked.steps == AUTO else None
    search = NoiseSearch(pipe, guide, asked.strategy, judge=judge, calibration=calibration)
    size = _size(costs, asked)
    allocation = allocate(search.calibration, pipe, guide, size.get("budget"), asked.arguments())
    if allocation is None:
        job.report(Begun(folder, size.get("num_candidates"), size.get("budget")))
    else:
        job.report(Begun(folder, allocation.candidates, allocation.nfe))

    seen: list[Batch] = []

    def tell(report: Any) -> bool:
        seen.append(Batch(list(report.records), replace(report.ledger)))
        job.report(seen[-1])
        return not job.stopped

    try:
        with job.stops(pipe):
            result = search(
                asked.prompt,
                **size,
                seed=asked.seed,
                batch_size=asked.batch_size,
                output_dir=folder,
                progress=False,
                on_batch=tell,
                **asked.arguments(),
            )
    except Stopped:
        result = _found(seen, search, asked, folder) if seen else None
    if result is None:
        return Outcome(asked, size, folder, None, None, None, True)
    result.save(folder)
    best = None if result.failed else _draw(result.best[0], judge, result.judge)
    first = None if result.failed else _recorded_first(result, asked, judge)
    if first is None and best is not None and not job.stopped:
        with suppress(Stopped), job.stops(pipe):
            first = _drawn_first(search, result, asked, folder)
    if not has_rungs(asked.strategy):
        costs.remember(asked, result.best[0].record["nfe"], result.ledger.as_dict())
    if job.stopped and not has_rungs(asked.strategy):
        steps = asked.steps if allocation is None else allocation.num_inference_steps
        asked, size = replace(asked, steps=steps), {"num_candidates": len(result.records)}
    return Outcome(asked, size, folder, result, best, first, job.stopped)


def _size(costs: CostEstimate, asked: SearchRequest) -> dict[str, int]:
    """The budget as the search takes it: in candidates, or, where they are not all alike, in NFEs."""
    candidate = costs.candidate(asked) if asked.steps == AUTO or has_rungs(asked.strategy) else None
    if candidate is not None:
        return {"budget": asked.candidates * candidate}
    if asked.steps == AUTO:
        raise ValueError("what one candidate costs is not known here yet; search once with a number of steps first")
    return {"num_candidates": asked.candidates}


def _found(seen: list[Batch], search: NoiseSearch, asked: SearchRequest, folder: Path) -> SearchResult:
    """What a cancelled search had found, from its records."""
    from ....pipelines.call import PipelineCall
    from ....pipelines.search.result import Candidate, SearchResult, chosen_by, furthest
    from ....pipelines.search.scoring import judge_name

    call = PipelineCall(search.pipe, asked.arguments())
    candidates = [Candidate.of(one, call, folder / one["file"]) for batch in seen for one in batch.records]
    pool = furthest(candidates)
    good = [candidate for candidate in pool if candidate.source is not None]
    best = chosen_by(search.verifier, good) if good else pool[0]
    judge = judge_name(search.verifier, search.judge) if search.judge else None
    return SearchResult([best], [pool], seen[-1].ledger, search.verifier.name, judge, candidates)


def _recorded_first(result: SearchResult, asked: SearchRequest, judge: Any) -> Draw | None:
    """The seed's own picture, where it is among the finished candidates."""
    for candidate in result.candidates[0]:
        if candidate.seed == asked.seed and not candidate.lineage and candidate.source is not None:
            return _draw(candidate, judge, result.judge)
    return None


def _drawn_first(search: NoiseSearch, result: SearchResult, asked: SearchRequest, folder: Path) -> Draw:
    """The seed's own picture, drawn now; no part of the search, nor of its ledger."""
    from PIL import Image

    from ....pipelines.call import PipelineCall
    from ....pipelines.search.result import Candidate
    from ....pipelines.search.scoring import score_batch

    images, _ = PipelineCall(search.pipe, result.best[0].arguments)(asked.prompt, [asked.seed])
    file = folder / "first.png"
    Image.fromarray(images[0]).save(file)
    guide, judge = search.verifier, search.judge
    (found,) = score_batch(guide, images, [True], asked.prompt, judge=judge)
    record = {"prompt": asked.prompt, "seed": asked.seed, "scores": found.scores, "missing": found.missing}
    score = found.scores.get(guide.name)
    score = math.nan if score is None else score
    return _draw(Candidate(record, score, result.best[0].arguments, False, file), judge, result.judge)


def _draw(candidate: Any, judge: Any, name: str | None) -> Draw:
    return Draw(candidate.source, candidate.seed, candidate.score, _verdict(judge, name, candidate))


def _verdict(judge: Any, name: str | None, candidate: Any) -> str | None:
    """What the judge says of a candidate: in words where it can, else its score."""
    if judge is None:
        return None
    if not hasattr(judge, "verdicts"):
        score = candidate.scores.get(name)
        return f"{name}: {'no score' if score is None else f'{score:.3f}'}"
    verdict = judge.verdicts([candidate.image], [candidate.prompt])[0]
    return f"{'right' if verdict.right else 'wrong'}: {verdict}"
