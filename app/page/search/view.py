"""What the search tab shows, as HTML: candidates as they come, the score against the cost, and the end."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....pipelines.search.job import SearchJob
from ..draws import draw_section
from ..line_chart import Series, line_chart
from ..pictures import Picture, downloads, grid, notice, progress
from .run import Batch, Begun, Outcome, costs_alike

if TYPE_CHECKING:
    from ....pipelines.search.record import Record


class SearchView:
    """What has come of a search so far.

    Args:
        job: the search.
    """

    def __init__(self, job: SearchJob):
        self.job = job
        (self.prompt,) = job.prompts
        self.places = job.candidates or 0
        self.folder = Path()
        self.nfe: int | None = None
        self.records: list[Record] = []
        self.spent, self.seconds = 0, 0.0
        self.chosen: Record | None = None

    def begin(self, begun: Begun) -> None:
        """Take what is known of the run: its folder, which holds the pictures, and its size."""
        self.folder = begun.folder
        self.places = begun.candidates or self.places
        self.nfe = begun.nfe

    def take(self, batch: Batch) -> None:
        """Take what has come."""
        self.records += batch.records
        self.spent, self.seconds = batch.ledger.nfe, batch.ledger.seconds
        if self.nfe is None and costs_alike(self.job.strategy):
            self.nfe = self.records[0].nfe * self.places
        best = max(map(_standing, self.records))
        self.chosen = next(record for record in self.records if _standing(record) == best)

    def gallery(self) -> str:
        """All candidates, each as it stands."""
        latest: dict[Any, Record] = {}
        for record in self.records:
            latest[_noise_of(record)] = record
        shown = [self._picture(k, record) for k, record in enumerate(latest.values(), 1)]
        return grid(shown, self.places, f"candidates of {self.prompt}")

    def _picture(self, number: int, record: Record) -> Picture:
        score, marked = _score(record), record is self.chosen and _score(record) > -math.inf
        if record.failed:
            caption, said = "failed", record.reason or "failed"
        else:
            caption = f"{score:.3f}" if math.isfinite(score) else "ranked at the end"
            said = f"score {caption}" if math.isfinite(score) else caption
        finished = record.node.finished
        if not finished:
            caption += f" at {record.steps_done}/{record.steps}"
            said += f" at step {record.steps_done} of {record.steps}"
        alt = f"{self.prompt}, candidate {number}, seed {record.seed}, {said}"
        return Picture(self.folder / (record.file or ""), alt, caption, marked, faint=not finished)

    def end(self, outcome: Outcome) -> None:
        """Take the choice, and give up the places of what did not come."""
        self.chosen, self.places = outcome.result.best[0].record, 0

    def chart(self) -> str:
        """Scores against the cost so far."""
        return score_chart(self.records, self.nfe, self.prompt)

    def progress(self) -> str:
        """The bar and its numbers."""
        count = _count(self.records)
        best = -math.inf if self.chosen is None else _score(self.chosen)
        parts = [
            f"{count} of {self.places} candidates" if count <= self.places else f"{count} candidates",
            f"{self.spent:,} NFEs" if self.nfe is None else f"{self.spent:,} of {self.nfe:,} NFEs",
            f"best {best:.3f}" if math.isfinite(best) else "none scored yet",
            seconds_text(self.seconds),
        ]
        share = count / self.places if self.nfe is None else self.spent / self.nfe
        return progress(", ".join(parts), share)


def _noise_of(record: Record) -> tuple[int, Any]:
    """The initial noise; halving records it once in each rung that it ran in."""
    return record.seed, record.node.turns


def _standing(record: Record) -> tuple[int, float]:
    """How far a candidate has come, then its score."""
    return record.steps_done or 0, _score(record)


def _score(record: Record) -> float:
    return -math.inf if record.score is None or record.failed or math.isnan(record.score) else record.score


def seconds_text(seconds: float) -> str:
    """A duration as a person says it: in minutes from two of them."""
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def score_chart(records: list[Record], nfe: int | None, prompt: str = "") -> str:
    """Each candidate's score, and the best finished one so far, against the NFEs spent.

    Args:
        records: in their order.
        nfe: all that will be spent; None where it is not known.
        prompt: for those who do not see the chart.
    """
    points = [(record.nfe_so_far, _score(record)) for record in records]
    best, highest = [], -math.inf
    for (x, y), record in zip(points, records, strict=True):
        highest = max(highest, y if record.node.finished else highest)
        best.append((x, highest))
    labels = [f"seed {record.seed}: {_score(record):.3f}" for record in records]
    return line_chart(
        [Series("candidates", points, "dots", 1, labels), Series("best so far", best, "steps", 0)],
        "NFEs",
        "score",
        (0, max([nfe or 1, *(x for x, _ in points)])),
        f"score against NFEs for {prompt or 'the search'}" + (f", best {highest:.3f}" if best else ""),
    )


def _count(records: list[Record]) -> int:
    """How many candidates were tried; halving records one in each rung that it ran in."""
    return len(set(map(_noise_of, records)))


def summary(outcome: Outcome) -> str:
    """The end in one line."""
    result, best, first = outcome.result, outcome.best, outcome.first
    if best is None:
        return f"Every candidate failed: {result.best[0].reason}"
    count = _count([candidate.record for candidate in result.evaluated])
    said = f"{'Cancelled: the best' if outcome.stopped else 'Best'} of {count} has score {best.score:.3f}"
    return said + ("." if first is None else f"; the first draw alone, {first.score:.3f}.")


def outcome_panel(outcome: Outcome) -> str:
    """Best and first draw side by side, what it cost, and the files to keep."""
    (prompt,), result = outcome.job.prompts, outcome.result
    notes = "".join(notice(note) for note in outcome.notes)
    if outcome.best is None:
        return notes
    count = _count([candidate.record for candidate in result.evaluated])
    shown = [(f"Best of {count}", outcome.best, True)]
    if outcome.first is not None:
        shown.append(("Best of 1: the first draw", outcome.first, False))
    pairs = "".join(draw_section(title, draw, prompt, marked) for title, draw, marked in shown)
    if result.allocation is not None:
        notes += notice(f"The calibration chose {result.allocation}.")
    ledger = result.ledger
    costs = {
        "NFEs": f"{ledger.nfe:,}",
        "decodes": ledger.decodes,
        "verifier calls": ledger.verifier_calls,
        "time": seconds_text(ledger.seconds),
    }
    spent = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in costs.items())
    links = downloads(
        [
            ("Contact sheet", outcome.folder / "contact_sheet.png"),
            ("Best image", outcome.folder / "best.png"),
            ("records.jsonl", outcome.folder / "records.jsonl"),
        ]
    )
    return f'{notes}<div class="pair">{pairs}</div><dl class="ledger">{spent}</dl>{links}'
