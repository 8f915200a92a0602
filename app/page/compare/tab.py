"""The tab that compares: each strategy spends the same budget on the same prompt; winners stand in one grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from ..answer import Shot, answer
from ..controls import LIGHT, Update, seconds_text
from ..example import Example
from ..judged import SEE, right_of
from ..memory import settings, strip
from ..on_the_way import OnTheWay
from ..pictures import Picture, downloads, empty_cell, figure, notice, progress
from ..run_events import connect_run
from ..search.cost import CostEstimate
from ..studio import Studio
from ..words import term
from .work import (
    APART,
    COLUMNS,
    MEANING,
    MOST_CANDIDATES,
    MOST_COLUMNS,
    WAYS,
    Cell,
    Compared,
    CompareRequest,
    Comparing,
    rows,
    run_compare,
)

TITLE = "Compare"
ABOUT = (
    "Compare spends one budget on the same prompt in several ways and shows each way's winner, its cost and its time: "
    "it helps to see which way of searching suits a prompt before you spend more."
)
PLAIN = next(iter(WAYS))
"""The way that the others have to beat."""
PROMPT, CANDIDATES, NUMBER = "two dogs above a boat on blue", 2, 2


class CompareTab:
    """Builds the tab, and holds its handlers."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self.costs = CostEstimate(studio.models)
        self._build()
        self._connect()

    def _build(self) -> None:
        models = self.studio.models
        first = (models.labels(models.model) or [PROMPT])[0]
        example = Example.of(TITLE, models).shown
        gr.HTML(f'<p class="about">{ABOUT}</p>')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.prompt = gr.Textbox(first, label="Prompt to compare on", lines=1, max_lines=4)
                self.model = gr.Dropdown(models.pipelines, value=models.model, label="Model")
                self.candidates = gr.Slider(
                    1, MOST_CANDIDATES, CANDIDATES, step=1, label="Budget of each, in candidates of the default steps"
                )
                with gr.Row():
                    self.across = gr.Dropdown(list(COLUMNS), value=COLUMNS[0], label="Columns", min_width=120)
                    self.columns = gr.Slider(1, MOST_COLUMNS, NUMBER, step=1, label="How many", min_width=120)
                self.seed = gr.Number(0, label="Seed", precision=0, elem_classes="seed")
                with gr.Row():
                    self.start = gr.Button("Compare strategies", variant="primary", elem_id="compare-start")
                    self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="compare-cancel")
                self.status = gr.HTML(notice("One click: random, halving, auto and steering, each at the same budget."))
            with gr.Column(scale=3, min_width=320):
                blank = comparison(first, [], [float(k * APART) for k in range(NUMBER)], COLUMNS[0])
                self.grid = gr.HTML(example.get("grid", blank), elem_id="compared")
                gr.HTML(strip() + SEE)
                self.facts = gr.HTML(example.get("facts", ""))
        self.inputs = {
            "prompt": self.prompt,
            "model": self.model,
            "candidates": self.candidates,
            "across": self.across,
            "columns": self.columns,
            "seed": self.seed,
        }
        self.shown = {"grid": self.grid, "facts": self.facts}

    def _connect(self) -> None:
        typed = [self.prompt, self.seed]
        self.controls = connect_run(self, TITLE, typed)
        self.model.change(self._follow_model, [self.model, self.prompt], self.prompt, **LIGHT)

    def _follow_model(self, model: str, prompt: str) -> str:
        """A class for a model of classes; what is written stays where it can."""
        labels = self.studio.models.labels(model)
        if labels:
            return prompt if prompt in labels else labels[0]
        return prompt if len(prompt.split()) > 1 else PROMPT

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Compare, and show each winner as it comes."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        asked = dict(zip(self.inputs, values, strict=True))
        request = CompareRequest.of(self.studio.models, self.studio.limits, **asked)
        prompt, cells = str(asked["prompt"]).strip(), list[Cell]()
        show = partial(comparison, prompt, columns=request.columns, across=request.across)
        yield {**self.controls.busy(), self.grid: show(cells), self.facts: ""}

        under_way: list[Comparing] = []

        def news(one: Comparing | OnTheWay | Cell) -> Update:
            if isinstance(one, Cell):
                cells.append(one)
                return {self.grid: show(cells)}
            if isinstance(one, OnTheWay):
                return {self.grid: show([*cells, Cell(under_way[-1].way, under_way[-1].column, one.file)])}
            under_way.append(one)
            text = f"search {one.number} of {one.of}: {one.way}, {request.across} {one.column:g}"
            return {self.status: progress(text, (one.number - 1) / one.of)}

        work = partial(run_compare, self.studio, self.costs, request)
        compared = yield from self.controls.follow(session, work, news)
        yield {
            self.status: notice(summary(compared.cells)),
            self.grid: show(compared.cells),
            self.facts: _facts(compared) + settings(asked),
            **self.controls.idle(),
        }


def comparison(prompt: str, cells: list[Cell], columns: list[float], across: str) -> str:
    """The best of all winners beside what it has to beat, and under them the grid of all.

    Args:
        prompt: that all were made for.
        cells: that have come, row by row.
        columns: their values.
        across: what they are.
    """
    best = _best(cells)
    heads = "".join(f'<th scope="col">{escape(across)} {value:g}</th>' for value in columns)
    body = []
    for way, made in rows(cells):
        drawn = [_cell(prompt, cell, across, cell is best) for cell in made]
        drawn += [f"<td>{empty_cell()}</td>"] * (len(columns) - len(drawn))
        body.append(f'<tr><th scope="row">{way}<small>{escape(MEANING[way])}</small></th>{"".join(drawn)}</tr>')
    table = f"<thead><tr><td></td>{heads}</tr></thead><tbody>{''.join(body)}</tbody>"
    return f'{_answer(prompt, cells, best, across)}<table class="compare" aria-label="All winners">{table}</table>'


def _best(cells: list[Cell]) -> Cell | None:
    """The winner of winners; the first of those that score alike."""
    return max((cell for cell in cells if math.isfinite(cell.score)), key=lambda cell: cell.score, default=None)


def _answer(prompt: str, cells: list[Cell], best: Cell | None, across: str) -> str:
    """The panel at the top: the best winner beside the plain way's in its column, or beside the next best there."""
    if best is None:
        done = any(cell.reason for cell in cells)
        said = summary(cells) if done else "Each strategy's winner will stand here."
        return answer(prompt, [Shot(title, note="will stand here") for title in ("Best", PLAIN.capitalize())], said)
    others = [cell for cell in cells if cell.column == best.column and cell.way != best.way]
    beaten = next((cell for cell in others if cell.way == PLAIN), None) or _best(others)
    shots = [_shot(f"Best: {best.way}", best, across, marked=True)]
    shots.append(
        Shot("Beside it", note="will stand here") if beaten is None else _shot(beaten.way.capitalize(), beaten, across)
    )
    won = [cell for cell in cells if cell.tried]
    alike = sorted({cell.way for cell in won if cell.score == best.score and cell.way != best.way})
    said = f"Of {len(won)} winners, that of {best.way} has the highest score"
    said += f", as has that of {' and '.join(alike)}." if alike else "."
    right = right_of(cell.sight for cell in won)
    return answer(prompt, shots, f"{said} The judge: {right}." if right else said)


def _shot(title: str, cell: Cell, across: str, marked: bool = False) -> Shot:
    if cell.file is None:
        return Shot(title, note=cell.reason)
    seed = int(cell.column) if across == "seed" else None
    note = "" if seed is not None else f"score {cell.score:.3f}, {_where(cell, across)}"
    return Shot(title, cell.file, seed, cell.score, cell.sight, marked, note)


def _where(cell: Cell, across: str) -> str:
    return f"{across} {cell.column:g}"


def _cell(prompt: str, cell: Cell, across: str, marked: bool) -> str:
    if cell.file is None:
        return f"<td>{empty_cell(cell.reason)}</td>"
    alt = f"{prompt}, {cell.way}, {_where(cell, across)}, score {cell.score:.3f}"
    seed = int(cell.column) if across == "seed" else None
    if not cell.tried:
        alt = f"{prompt}, {cell.way}, being drawn"
        return f"<td>{figure(Picture(cell.file, alt, 'being drawn', faint=True))}</td>"
    picture = figure(Picture(cell.file, alt, f"{cell.score:.3f}", marked, sight=cell.sight, seed=seed))
    cost = f"{cell.tried} tried, {cell.nfe:,} {term('NFE', 'NFEs')}, {seconds_text(cell.seconds)}"
    return f'<td>{picture}<p class="cost">{cost}</p></td>'


def summary(cells: list[Cell]) -> str:
    """Each way's mean score, and how many of its winners are right."""
    parts = []
    for way, made in rows([cell for cell in cells if cell.tried]):
        if made:
            mean = sum(cell.score for cell in made) / len(made)
            right = right_of(cell.sight for cell in made)
            parts.append(f"{way}: mean score {mean:.3f}{f', {right}' if right else ''}")
    return f"{'; '.join(parts)}." if parts else "No search could be made."


def _facts(compared: Compared) -> str:
    notes = "".join(notice(note) for note in compared.notes)
    budget = "" if compared.budget is None else f"<p>Budget of each: {compared.budget:,} {term('NFE', 'NFEs')}.</p>"
    files = [("Grid", compared.folder / "comparison.png"), ("Numbers", compared.folder / "comparison.json")]
    return f"{notes}{budget}{downloads([one for one in files if one[1].exists()])}"


assert set(MEANING) == set(WAYS)
