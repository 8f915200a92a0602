"""Searches of one prompt by several strategies, each with the same budget, as work of the page."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ....pipelines.search.job import AUTO, SearchJob
from ....pipelines.search.steer_job import SteerJob
from ....valid_json import to_json
from ..judged import Sight, sights
from ..limits import Limits, one_of, whole
from ..line import Turn
from ..models import IN_HAND, Models
from ..on_the_way import shown_on_the_way
from ..search.cost import CostEstimate
from ..search.request import checked_job
from ..search.run import costs_alike, in_nfe
from ..steering.request import checked_job as steered_job
from ..studio import Studio

STEERED = "steering"
WAYS: dict[str, dict[str, Any]] = {
    "random": {"strategy": "random"},
    "halving": {"strategy": "halving"},
    "auto": {"strategy": "random", "steps": AUTO},
    STEERED: {"strategy": "smc:tilt=100", "steps": 8, "batch_size": 8},
}
"""Rows of the grid, as settings of a search; the last is a steered one."""
MEANING = {
    "random": "whole draws, the best is kept",
    "halving": "more draws, of which an early look drops most",
    "auto": "steps and draws as the calibration finds best",
    STEERED: "each step tries several ways to go on",
}
COLUMNS = ("seed", "guidance scale")
SCALES = (1.5, 3.0, 4.5)
"""Guidance scales, where these are the columns; the second is the shipped models' own, which calibrations are of."""
MOST_COLUMNS, MOST_CANDIDATES = 3, 16
APART = 1000
"""From one column's seed to the next, so that no candidate stands in two of them."""


@dataclass(frozen=True)
class Cell:
    """What a strategy made of the budget.

    Attributes:
        way: row.
        column: seed or guidance scale.
        file: the winner's picture; None where the search could not be made.
        score: by the verifier.
        sight: the judge's.
        nfe, seconds: spent.
        tried: candidates.
        reason: why the search could not be made.
    """

    way: str
    column: float
    file: Path | None = None
    score: float = math.nan
    sight: Sight | None = None
    nfe: int = 0
    seconds: float = 0.0
    tried: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Comparing:
    """News: the search that is under way."""

    way: str
    column: float
    number: int
    of: int


@dataclass(frozen=True)
class Compared:
    """The end.

    Attributes:
        cells: row by row.
        columns: their values.
        folder: holds `comparison.png` and `comparison.json`.
        budget: NFEs of each search; None where they were counted in candidates.
        notes: what the library warned of.
    """

    cells: list[Cell]
    columns: list[float]
    folder: Path
    budget: int | None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CompareRequest:
    """One comparison.

    Attributes:
        jobs: a search for each row and column, or the sentence that refuses it.
        across: what the columns are.
        columns: their values.
    """

    jobs: dict[tuple[str, float], SearchJob | str]
    across: str
    columns: list[float]

    @classmethod
    def of(cls, models: Models, limits: Limits, **asked: Any) -> CompareRequest:
        """The searches of values as a browser or a program sent them.

        Args:
            models: of the page.
            limits: of one visitor's request.
            asked: prompt, model, candidates, across, columns (how many) and seed.

        Raises:
            ValueError: for anything that is not offered or out of range, in one sentence.
        """
        across, seed = asked["across"], asked["seed"]
        one_of("way of columns", across, COLUMNS)
        candidates = whole("budget", asked["candidates"], 1, MOST_CANDIDATES, "candidates")
        count = whole("number of columns", asked["columns"], 1, MOST_COLUMNS)
        first = whole("seed", seed, 0, 2**31 - 1 - MOST_COLUMNS * APART)
        values = [float(first + k * APART) for k in range(count)] if across == "seed" else list(SCALES[:count])
        one_of("model", asked["model"], models.pipelines)
        names = {"verifier": models.guides(asked["model"])[0], "judge": models.default_judge(asked["model"])}
        common = {
            "prompt": asked["prompt"],
            "model": asked["model"],
            "candidates": candidates,
            **names,
            "batch_size": 2,
        }
        jobs: dict[tuple[str, float], SearchJob | str] = {}
        for way, settings in WAYS.items():
            for value in values:
                here = {"seed": int(value)} if across == "seed" else {"seed": first, "guidance_scale": value}
                try:
                    jobs[way, value] = _checked(way, models, limits, {**common, **settings, **here})
                except ValueError as error:
                    if way == next(iter(WAYS)):
                        raise  # the prompt or the numbers are wrong, not this way of searching
                    jobs[way, value] = str(error)
        return cls(jobs, across, values)


def _checked(way: str, models: Models, limits: Limits, asked: dict[str, Any]) -> SearchJob:
    """The search of a cell; that of a steered one has its budget once the price of a candidate is known."""
    if way != STEERED:
        return checked_job(models, limits, **asked)
    job = steered_job(models, limits, **{name: value for name, value in asked.items() if name != "candidates"})
    return replace(job, candidates=asked["candidates"], budget=None)


def run_compare(studio: Studio, costs: CostEstimate, request: CompareRequest, folder: Path, turn: Turn) -> Compared:
    """Run the searches one after the other; it reports `Loading`, `Comparing`, `OnTheWay` and each `Cell`.

    Args:
        studio: of the page.
        costs: what a candidate costs, where it is known.
        request: checked.
        folder: of this run alone.
        turn: of the visitor.

    Raises:
        Stopped: where the visitor cancelled.
    """
    cells = []
    for number, ((way, value), job) in enumerate(request.jobs.items(), 1):
        turn.report(Comparing(way, value, number, len(request.jobs)))
        cell = Cell(way, value)
        if isinstance(job, str):
            cell = replace(cell, reason=job)
        else:
            price = costs.candidate(_first(request))
            cell = _searched(studio, costs, _paid(job, price), cell, folder / f"{way}_{number}", turn)
        cells.append(cell)
        turn.report(cell)
    first = _first(request)
    price = costs.candidate(first)
    budget = None if price is None else price * (first.candidates or 0)
    compared = Compared(cells, request.columns, folder, budget, turn.notes)
    _save(compared, request)
    return compared


def _first(request: CompareRequest) -> SearchJob:
    """The first row's first search: whole draws, whose price is everyone's budget."""
    return next(job for job in request.jobs.values() if not isinstance(job, str))


def _paid(job: SearchJob, price: int | None) -> SearchJob:
    """A steered search with the NFEs of its candidates as budget, as it makes no candidates of its own to count."""
    if not isinstance(job, SteerJob) or price is None:
        return job
    return replace(job, budget=price * (job.candidates or 0), candidates=None)


def _searched(studio: Studio, costs: CostEstimate, asked: SearchJob, cell: Cell, folder: Path, turn: Turn) -> Cell:
    """Make a search."""
    models, model = studio.models, asked.model or IN_HAND
    models.announce([model, *asked.verifiers, asked.judge], turn.report)
    pipe, load = models.pipeline(model), partial(models.judge_or_guide, model=model)
    _, judge = asked.load_verifiers(load)
    whole = costs_alike(asked.strategy)  # others wrap the scheduler, which nobody may watch then
    folder.mkdir()
    watched = shown_on_the_way(pipe, folder.parent, turn.report) if whole else nullcontext(lambda: None)
    try:
        job = replace(asked if isinstance(asked, SteerJob) else in_nfe(costs, asked), output=str(folder))
        with turn.stops(pipe), watched as drawn:
            result = job.run(pipe, load=load, progress=False, on_batch=lambda report: drawn())
    except ValueError as error:
        return replace(cell, reason=str(error))
    best, ledger = result.best[0], result.ledger
    if not isinstance(best.source, Path):
        return replace(cell, nfe=ledger.nfe, seconds=ledger.seconds, reason=best.reason or "every candidate failed")
    if not best.finished:
        return replace(cell, nfe=ledger.nfe, seconds=ledger.seconds, reason="no picture was finished by this budget")
    if asked.steps is None and asked.strategy == "random":
        costs.remember(asked, best.record.nfe, ledger.as_dict())
    seen = sights(judge, [best.image], asked.prompts[0])
    tried = len({(one.seed, one.lineage) for one in result.evaluated})
    sight = seen[0] if seen else None
    return replace(
        cell, file=best.source, score=best.score, sight=sight, nfe=ledger.nfe, seconds=ledger.seconds, tried=tried
    )


def rows(cells: list[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """The cells of each way."""
    for way in WAYS:
        yield way, [cell for cell in cells if cell.way == way]


def _save(compared: Compared, request: CompareRequest) -> None:
    """Write the grid as a picture, and its numbers."""
    from PIL import Image

    from ....pipelines.search.contact_sheet import contact_sheet

    made = [cell for cell in compared.cells if cell.file is not None]
    if made:
        images = [Image.open(cell.file) for cell in made if cell.file is not None]
        captions = [
            f"{cell.way}, {request.across} {cell.column:g}\nscore {cell.score:.3f}\n"
            f"{cell.nfe} NFEs, {cell.seconds:.1f} s"
            for cell in made
        ]
        first = next(job for job in request.jobs.values() if not isinstance(job, str))
        contact_sheet(images, captions, title=first.prompts[0]).save(compared.folder / "comparison.png")
    values = [asdict(cell) | {"file": None if cell.file is None else cell.file.name} for cell in compared.cells]
    for one in values:
        one["score"] = one["score"] if math.isfinite(one["score"]) else None
    (compared.folder / "comparison.json").write_text(to_json(values, indent=1) + "\n")
