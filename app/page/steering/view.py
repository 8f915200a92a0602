"""What the steering tab shows, as HTML: the answer, the path, rewards against the cost, and tries per step."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from ....pipelines.search.steer_job import SteerJob
from ..answer import Shot, answer
from ..controls import seconds_text
from ..ledger import ledger_html
from ..line_chart import Series, line_chart
from ..pictures import Picture, downloads, grid, notice, progress
from .run import Nodes, Outcome

if TYPE_CHECKING:
    from ....pipelines.search.record import Record


RIVAL = "Best of draws"
"""What the same budget finds without steering."""


class SteeringView:
    """What has come of a steered search so far.

    Args:
        job: the search.
    """

    def __init__(self, job: SteerJob):
        self.job = job
        (self.prompt,) = job.prompts
        self.budget = job.budget or 1
        self.folder = Path()
        self.records: list[Record] = []
        self.spent, self.seconds = 0, 0.0
        self.chosen: Record | None = None

    def take(self, nodes: Nodes) -> None:
        """Take what has come."""
        self.folder = nodes.folder
        self.records += nodes.records
        self.spent, self.seconds = nodes.ledger.nfe, nodes.ledger.seconds
        self.chosen = max(self.records, key=lambda record: (record.steps_done or 0, _score(record)))

    def end(self, outcome: Outcome) -> None:
        """Take the choice."""
        if outcome.path:
            self.chosen = outcome.path[-1].record

    @property
    def path(self) -> list[Record]:
        """Nodes on the way to the chosen one, and that, last."""
        if self.chosen is None:
            return []
        by_id = {record.node.id: record for record in self.records}
        found, before = [self.chosen], self.chosen.node.parent
        while before is not None:
            found += [by_id[before.id]] if before.id in by_id else []
            before = before.parent
        return found[::-1]

    def answer(self) -> str:
        """The panel at the top, while the search runs."""
        best, one = Shot("Best so far", note="will stand here"), self.chosen
        if one is not None and one.file:
            note = "" if one.node.finished else f"early look, step {one.steps_done} of {one.steps}"
            best = Shot("Best so far", self.folder / one.file, one.seed, _score(one), marked=True, note=note)
        said = f"{len(self.records)} ways to go on tried" if self.records else ""
        return answer(self.prompt, [best, Shot(RIVAL, note="is drawn afterwards")], said)

    def strip(self) -> str:
        """Clean predictions along the path."""
        pictures = [self._picture(record) for record in self.path if record.file]
        return grid(pictures, self.job.steps if isinstance(self.job.steps, int) else 0, f"the path of {self.prompt}")

    def _picture(self, record: Record) -> Picture:
        finished, score = record.node.finished, _score(record)
        where = "the image" if finished else f"step {record.steps_done} of {record.steps}"
        said = f"score {score:.3f}" if math.isfinite(score) else record.reason or "no score"
        caption = f"{'image' if finished else f'step {record.steps_done}'}: {score:.3f}"
        return Picture(
            self.folder / (record.file or ""), f"{self.prompt}, {where}, {said}", caption, finished, not finished
        )

    def chart(self) -> str:
        """Scores against NFEs: of nodes that were gone on from, of those that were not, and the best image so far."""
        return reward_chart(self.records, self.path, self.budget, self.prompt)

    def tries(self) -> str:
        """How many candidates each step had, and how many it kept."""
        return tries_table(self.records, self.path)

    def progress(self) -> str:
        """The bar and its numbers."""
        last = self.records[-1]
        finished = [score for record in self.records if record.node.finished and math.isfinite(score := _score(record))]
        parts = [
            f"{self.spent:,} of {self.budget:,} NFEs",
            f"step {last.steps_done} of {last.steps}",
            f"best image {max(finished):.3f}" if finished else f"here {_score(last):.3f}",
            seconds_text(self.seconds),
        ]
        return progress(", ".join(parts), self.spent / self.budget)


def _score(record: Record) -> float:
    return -math.inf if record.score is None or record.failed or math.isnan(record.score) else record.score


def accepted(records: list[Record], path: list[Record]) -> set[str]:
    """Ids of the nodes that something went on from, and of those on the path."""
    found = {record.node.id for record in path}
    for record in records:
        before = record.node.parent
        while before is not None and before.id not in found:
            found.add(before.id)
            before = before.parent
    return found


def reward_chart(records: list[Record], path: list[Record], budget: int, prompt: str = "") -> str:
    """Each node's score against the NFEs spent.

    Args:
        records: in their order.
        path: to the chosen one.
        budget: of the prompt.
        prompt: for those who do not see the chart.
    """
    kept = accepted(records, path)
    parts: dict[bool, list[Record]] = {True: [], False: []}
    best, highest = [], -math.inf
    for record in records:
        parts[record.node.id in kept].append(record)
        highest = max(highest, _score(record) if record.node.finished else highest)
        best.append((record.nfe_so_far, highest))
    dots = [
        Series(
            name,
            [(record.nfe_so_far, _score(record)) for record in parts[is_kept]],
            "dots",
            tone,
            [f"step {record.steps_done}: {_score(record):.3f}" for record in parts[is_kept]],
        )
        for name, is_kept, tone in (("refused", False, 1), ("gone on from", True, 0))
    ]
    return line_chart(
        [*dots, Series("best image", best, "steps", 2)],
        "NFEs",
        "score",
        (0, max([budget, *(record.nfe_so_far for record in records)])),
        f"scores against NFEs for {prompt or 'the search'}, {len(parts[True])} nodes gone on from, "
        f"{len(parts[False])} refused",
    )


def tries_table(records: list[Record], path: list[Record]) -> str:
    """Candidates of each step, those kept, NFEs, and the highest score, as an HTML table with bars."""
    if not records:
        return ""
    kept = accepted(records, path)
    by_step: dict[int, list[Record]] = {}
    for record in records:
        by_step.setdefault(record.steps_done or 0, []).append(record)
    most = max(map(len, by_step.values()))
    rows = []
    for step, tried in sorted(by_step.items()):
        count, gone = len(tried), sum(record.node.id in kept for record in tried)
        bar = f'<div class="bar"><div style="width:{round(100 * count / most)}%"></div></div>'
        rows.append(
            f'<tr><th scope="row">{step}</th><td><div class="tried">{bar}{count}</div></td><td>{gone}</td>'
            f"<td>{sum(record.nfe for record in tried)}</td><td>{max(map(_score, tried)):.3f}</td></tr>"
        )
    head = "".join(f'<th scope="col">{name}</th>' for name in ("step", "tried", "kept", "NFEs", "best"))
    return f'<table class="tries"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def summary(outcome: Outcome) -> str:
    """The end in one line."""
    if outcome.best is None:
        why = outcome.result.best[0].reason if outcome.result.failed else "cancelled before an image was finished"
        return f"No image: {why}."
    said = f"{'Cancelled: the best' if outcome.stopped else 'The best'} image has score {outcome.best.score:.3f}"
    if outcome.rival is None:
        return f"{said}."
    return f"{said}; best of {outcome.rival_count} for the same budget, {outcome.rival.score:.3f}."


def final_answer(outcome: Outcome) -> str:
    """The steered image beside best-of-N's, with the judge's words, under the prompt that they belong to."""
    (prompt,) = outcome.job.prompts
    if outcome.best is None:
        return answer(prompt, [Shot("No image", note="none was finished")])
    tried, guide = len(outcome.result.evaluated), outcome.result.verifier
    said = f"Chosen by {guide} from {tried} ways to go on"
    if outcome.rival is None:
        return answer(prompt, [Shot.of("Steered", outcome.best, marked=True)], f"{said}.")
    won = outcome.best.score >= outcome.rival.score
    title = f"Best of {outcome.rival_count} draws"
    shots = [Shot.of("Steered", outcome.best, won), Shot.of(title, outcome.rival, not won)]
    return answer(prompt, shots, f"{said}; beside it, what whole draws find for the same budget.")


def facts(outcome: Outcome, settings: str = "") -> str:
    """What it cost, and the files to keep.

    Args:
        outcome: of the search.
        settings: what it was asked for, for the browser's memory.
    """
    notes = "".join(notice(note) for note in outcome.notes)
    if outcome.best is None:
        return notes
    links = downloads(
        [("Best image", outcome.folder / "best.png"), ("records.jsonl", outcome.folder / "records.jsonl")]
    )
    ledger = ledger_html(outcome.result.ledger.as_dict(), nodes=len(outcome.result.evaluated))
    return f"{notes}{ledger}{links}{settings}"
