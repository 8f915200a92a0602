"""What the search tab shows, as HTML: the answer, candidates as they come, scores against the cost, and the files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ....pipelines.search.job import SearchJob
from ..answer import Shot, answer
from ..controls import seconds_text
from ..judged import right_of
from ..ledger import ledger_html
from ..line_chart import Series, line_chart
from ..on_the_way import OnTheWay
from ..pictures import Picture, downloads, grid, notice, progress
from .plan import Plan
from .run import Batch, Begun, Outcome, costs_alike
from .tried import Tried

FIRST = "First draw"


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
        self.plan: Plan | None = None
        self.tried: list[Tried] = []
        self.spent, self.seconds = 0, 0.0
        self.chosen: Tried | None = None
        self.ended = False
        self._drawing: OnTheWay | None = None

    def begin(self, begun: Begun) -> None:
        """Take what is known of the run: its folder, which holds the pictures, and its size."""
        self.folder, self.plan, self.nfe = begun.folder, begun.plan, begun.nfe
        self.places = begun.candidates or self.places

    def draw(self, news: OnTheWay) -> None:
        """Take a picture of the first candidate on its way."""
        self._drawing = news

    def take(self, batch: Batch) -> None:
        """Take what has come."""
        self.spent, self.seconds = batch.ledger.nfe, batch.ledger.seconds
        if self.nfe is None and costs_alike(self.job.strategy):
            self.nfe = batch.records[0].nfe * self.places
        self.add(batch.tried)

    def add(self, tried: Sequence[Tried]) -> None:
        """Add candidates."""
        self.tried += tried
        best = max(one.standing for one in self.tried)
        self.chosen = next(one for one in self.tried if one.standing == best)

    def end(self, outcome: Outcome) -> None:
        """Take the choice, and give up the places of what did not come."""
        chosen = outcome.result.best[0].record
        mark = Tried.of(chosen)
        self.chosen = next(one for one in self.tried if (one.noise, one.file) == (mark.noise, mark.file))
        self.places, self.ended = 0, True

    @property
    def latest(self) -> list[Tried]:
        """Each initial noise as it stands, in the order in which they began: so each keeps its place."""
        return list({one.noise: one for one in self.tried}.values())

    @property
    def right(self) -> str:
        """How many of the finished ones the judge says are right."""
        return right_of(one.sight for one in self.latest if one.finished)

    def answer(self) -> str:
        """The panel at the top, while the search runs."""
        best = Shot("Best so far", note="will stand here")
        if self._drawing is not None:
            best = Shot("Being drawn", self._drawing.file, self.job.seed, note=f"step {self._drawing.step}")
        if self.chosen is not None and self.chosen.file is not None:
            best = self._shot("Best so far", self.chosen, True)
        first = next((one for one in reversed(self.tried) if one.seed == self.job.seed and not one.turned), None)
        shots = [best, Shot(FIRST, note="will stand here") if first is None else self._shot(FIRST, first, False)]
        return answer(self.prompt, shots, f"{len(self.latest)} of {self.places} candidates tried" if self.tried else "")

    def _shot(self, title: str, one: Tried, marked: bool) -> Shot:
        if one.file is None:
            return Shot(title, note="failed")
        note = "" if one.finished else f"early look, step {one.steps_done} of {one.steps}"
        return Shot(title, self.folder / one.file, one.seed, one.value, one.sight, marked, note)

    def gallery(self) -> str:
        """All candidates, each as it stands."""
        shown = [self._picture(k, one) for k, one in enumerate(self.latest, 1)]
        return grid(shown, self.places, f"candidates of {self.prompt}")

    def _picture(self, number: int, one: Tried) -> Picture:
        marked = one is self.chosen and one.value > -math.inf
        if one.reason is not None:
            caption, said = "failed", one.reason
        else:
            caption = f"{one.value:.3f}" if math.isfinite(one.value) else "ranked at the end"
            said = f"score {caption}" if math.isfinite(one.value) else caption
        if not one.finished and one.reason is None:
            dropped = self.ended and any(other.finished for other in self.tried)
            caption += ", dropped early" if dropped else f" at {one.steps_done}/{one.steps}"
            said += f" at step {one.steps_done} of {one.steps}{', dropped early' * dropped}"
        alt = f"{self.prompt}, candidate {number}, seed {one.seed}, {said}"
        file = self.folder / (one.file or "")
        seed = None if one.turned else one.seed
        return Picture(file, alt, caption, marked, not one.finished, one.sight, seed)

    def chart(self) -> str:
        """Scores against the cost so far."""
        return score_chart(self.tried, self.nfe, self.prompt)

    def progress(self) -> str:
        """The bar and its numbers."""
        begun, finished = len(self.latest), sum(one.finished for one in self.latest)
        best = -math.inf if self.chosen is None else self.chosen.value
        counts = f"{begun} of {self.places} candidates" if begun <= self.places else f"{begun} candidates"
        if any(not one.finished for one in self.tried):
            counts = f"{counts} begun, {finished}{f' of {self.plan.finish}' if self.plan else ''} finished"
        parts = [
            counts,
            f"{self.spent:,} NFEs" if self.nfe is None else f"{self.spent:,} of {self.nfe:,} NFEs",
            f"best {best:.3f}" if math.isfinite(best) else "none scored yet",
            self.right,
            seconds_text(self.seconds),
        ]
        share = begun / max(self.places, 1) if self.nfe is None else self.spent / self.nfe
        return progress(", ".join(filter(None, parts)), share)


def score_chart(tried: Sequence[Tried], nfe: int | None, prompt: str = "") -> str:
    """Each candidate's score against the NFEs spent, early looks apart from finished ones, and the best so far of each.

    Args:
        tried: in their order.
        nfe: all that will be spent; None where it is not known.
        prompt: for those who do not see the chart.
    """
    series, best = [], -math.inf
    for finished, name, tone in ((False, "early looks", 2), (True, "candidates", 1)):
        some = [one for one in tried if one.finished == finished]
        if not some and not finished:
            continue
        points = [(one.nfe_so_far, one.value) for one in some]
        labels = [f"seed {one.seed}: {one.value:.3f}{'' if finished else ' early'}" for one in some]
        series.append(Series(name, points, "dots" if finished else "rings", tone, labels))
        if finished and some:
            best, line = _best_so_far(points, tried[-1].nfe_so_far)
            series.append(Series("best so far", line, "steps", 0))
        elif some:
            series.append(Series("", _best_so_far(points, tried[-1].nfe_so_far)[1], "steps", 2))
    series = series or [Series("candidates", [], "dots", 1)]
    return line_chart(
        series,
        "NFEs",
        "score",
        (0, max([nfe or 1, *(one.nfe_so_far for one in tried)])),
        f"score against NFEs for {prompt or 'the search'}" + (f", best {best:.3f}" if math.isfinite(best) else ""),
    )


def _best_so_far(points: Sequence[tuple[float, float]], end: float) -> tuple[float, list[tuple[float, float]]]:
    """The highest of points, and how it rose, up to what is spent now."""
    line, highest = [], -math.inf
    for x, y in points:
        highest = max(highest, y)
        line.append((x, highest))
    return highest, [*line, (end, highest)]


def summary(outcome: Outcome, view: SearchView) -> str:
    """The end in one or two sentences."""
    result, best, first = outcome.result, outcome.best, outcome.first
    if best is None:
        return f"Every candidate failed: {result.best[0].reason}"
    latest = view.latest
    finished = sum(one.finished for one in latest)
    said = f"{'Cancelled: the best' if outcome.stopped else 'Best'} of {len(latest)} has score {best.score:.3f}"
    if finished < len(latest) and finished:
        said += f" ({finished} finished, {len(latest) - finished} dropped early)"
    said += "." if first is None else f"; the first draw alone, {first.score:.3f}."
    spent = "" if outcome.job.budget is None else f" {result.ledger.nfe:,} of {outcome.job.budget:,} NFEs spent."
    return f"{said}{f' {view.right}.' if view.right else ''}{spent}"


def final_answer(outcome: Outcome, view: SearchView) -> str:
    """Best and first draw side by side, with the judge's words, under the prompt that they belong to."""
    if outcome.best is None:
        return answer(view.prompt, [Shot("Every candidate failed")])
    count = len(view.latest)
    shots = [Shot.of(f"Best of {count}", outcome.best, marked=True)]
    if outcome.first is not None:
        shots.append(Shot.of(FIRST, outcome.first))
    return answer(view.prompt, shots, chosen_by(count, outcome.result.verifier, view.right))


def chosen_by(count: int, verifier: str, right: str) -> str:
    """The line under the prompt."""
    return f"Chosen by {verifier} from {count}." + (f" The judge: {right}." if right else "")


def facts(outcome: Outcome, settings: str = "") -> str:
    """What it cost, and the files to keep.

    Args:
        outcome: of the search.
        settings: what it was asked for, for the browser's memory.
    """
    notes = "".join(notice(note) for note in outcome.notes)
    if outcome.best is None:
        return notes
    if (chosen := outcome.result.allocation) is not None:
        notes += notice(
            f"Steps auto: the calibration chose {chosen.candidates} candidates of {chosen.num_inference_steps} steps, "
            f"{chosen.nfe} NFEs. Expected, over many prompts: score {chosen.score:.3f}. What came of this one is above."
        )
    links = downloads(
        [
            ("Contact sheet", outcome.folder / "contact_sheet.png"),
            ("Best image", outcome.folder / "best.png"),
            ("records.jsonl", outcome.folder / "records.jsonl"),
        ]
    )
    return f"{notes}{ledger_html(outcome.result.ledger.as_dict())}{links}{settings}"
