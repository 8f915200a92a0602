"""The tab that shifts times: plain and shifted samples of the same noises, and which times were chosen."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from ..controls import LIGHT, RUN, RunControls, Update, named
from ..line_chart import Series, line_chart
from ..memory import Memory, settings, strip
from ..models import DEFAULT_MODEL
from ..pictures import Picture, grid, notice, progress
from ..studio import Studio
from ..words import GLOSSARY, term
from .comparison import (
    AMPLIFIED,
    MOST_IMAGES,
    VARIANTS,
    Comparison,
    ShiftRequest,
    StepDone,
    fitting_solvers,
    run_comparison,
)
from .measured import measured

TITLE = "Time shift"
PIXEL_MODEL = "fashion-ddpm"
"""Shown first where it is shipped: an epsilon model of pixels, which the method was made for."""
EXAMPLES = ("a star on blue", "two cats and a house on white")
PRESETS: dict[str, dict[str, Any]] = {
    "Few steps": {"steps": 10, "window": 40, "cutoff": 500},
    "Wide window": {"steps": 10, "window": 160, "cutoff": 500},
    "Measured win": {
        "solver": "pndm",
        "steps": 10,
        "window": 20,
        "cutoff": 200,
        "data_variance": 0.44,
        "per_image": False,
    },
}
"""Settings that each begin a run at one click. The last is the best of the measured table."""
ABOUT = (
    "Time shift calls the model at the time whose noise fits the sample it has, in place of the time that the solver's "
    "grid says: it helps where few steps leave the two apart, and may hurt elsewhere; what was measured is said below."
)
IMAGES = 4
_SET = ("solver", "steps", "window", "cutoff", "data_variance", "per_image")
"""Fields that a preset fills."""


class TimeShiftTab:
    """Builds the tab, and holds its handlers."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self._build()
        self._connect()

    @property
    def _model(self) -> str:
        names = self.studio.models.pipelines
        return PIXEL_MODEL if PIXEL_MODEL in names and names[0] == DEFAULT_MODEL else names[0]

    def _build(self) -> None:
        model = self._model
        conditions = self._conditions(model)
        steps, window, cutoff = next(iter(PRESETS.values())).values()
        gr.HTML(f'<p class="about">{ABOUT}</p>')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.model = gr.Dropdown(self.studio.models.pipelines, value=model, label="Model")
                self.condition = gr.Dropdown(
                    conditions, value=conditions[0], allow_custom_value=True, label="Class or prompt"
                )
                with gr.Row(elem_classes="presets"):
                    self.presets = {
                        name: gr.Button(name, size="sm", elem_id=f"shift-{name.split()[0].lower()}") for name in PRESETS
                    }
                with gr.Row():
                    self.solver = gr.Dropdown(label="Solver", allow_custom_value=True, min_width=120)
                    self.steps = gr.Number(steps, label="Steps", precision=0, min_width=80)
                with gr.Row():
                    self.window = gr.Number(window, label="Window", precision=0, min_width=80, info=GLOSSARY["window"])
                    self.cutoff = gr.Number(cutoff, label="Cutoff", precision=0, min_width=80, info=GLOSSARY["cutoff"])
                with gr.Row():
                    self.start = gr.Button("Compare", variant="primary", elem_id="compare")
                    self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="shift-cancel")
                self.status = gr.HTML(notice("Choose an example, or press Compare."))
                with gr.Accordion("Matching, images and seed", open=False):
                    self.variant = gr.Dropdown(list(VARIANTS), value=VARIANTS[0], label="Variant")
                    self.data_variance = gr.Number(0.0, label="Variance of the clean data (the paper neglects it: 0)")
                    self.per_image = gr.Checkbox(True, label="A time for each image")
                    self.images = gr.Slider(1, MOST_IMAGES, IMAGES, step=1, label="Images")
                    self.seed = gr.Number(0, label="Seed", precision=0, elem_classes="seed")
            with gr.Column(scale=3, min_width=320):
                self.plain = gr.HTML(_titled("Plain", grid([], IMAGES, "plain samples")))
                self.shifted = gr.HTML(_titled("Shifted, from the same noises", grid([], IMAGES, "shifted samples")))
                self.difference = gr.HTML()
                self.chart = gr.HTML(_shift_chart(None))
                self.facts = gr.HTML()
                gr.HTML(strip())
        self.inputs = {
            "model": self.model,
            "condition": self.condition,
            "solver": self.solver,
            "steps": self.steps,
            "window": self.window,
            "cutoff": self.cutoff,
            "variant": self.variant,
            "data_variance": self.data_variance,
            "per_image": self.per_image,
            "images": self.images,
            "seed": self.seed,
        }

    def _connect(self) -> None:
        self.controls = RunControls(
            self.studio, TITLE, self.status, self.start, self.cancel, list(self.presets.values())
        )
        shown = [self.plain, self.shifted, self.difference, self.chart, self.facts]
        memory = Memory(TITLE, self.inputs, shown, self.start)
        fields = list(self.inputs.values())
        run = {"fn": named(self.run, self.inputs), "inputs": fields}
        run |= {"outputs": [*self.controls.outputs, *shown], **RUN}
        typed = [self.steps, self.window, self.cutoff, self.data_variance, self.seed]
        memory.keep(gr.on([self.start.click, *(one.submit for one in typed)], api_name="time_shift", **run))
        setting = [self.inputs[name] for name in _SET]
        for name, button in self.presets.items():
            filled = button.click(lambda model, name=name: self._preset(name, model), self.model, setting, **LIGHT)
            memory.keep(filled.then(api_visibility="private", **run))
        # At arrival too: what needs the library's imports is filled in then, so that the page answers before them.
        gr.on(
            None, self._follow_model, [self.model, self.condition, self.solver], [self.condition, self.solver], **LIGHT
        )

    def _preset(self, name: str, model: str) -> list[Any]:
        """Its settings; where the model is no match for its solver, the model's own."""
        solvers = fitting_solvers(self.studio.models, model)
        values = {"solver": solvers[0], "data_variance": 0.0, "per_image": True, **PRESETS[name]}
        values["solver"] = values["solver"] if values["solver"] in solvers else solvers[0]
        return [values[field] for field in _SET]

    def _conditions(self, model: str) -> list[str]:
        return self.studio.models.labels(model) or list(EXAMPLES)

    def _follow_model(self, model: str, condition: str, solver: str | None) -> list[Any]:
        """Conditions and solvers of the model; a choice that fits it stays."""
        conditions, solvers = self._conditions(model), fitting_solvers(self.studio.models, model)
        classes = self.studio.models.labels(model)
        fits = condition in conditions or (not classes and len(condition.split()) > 1)
        return [
            gr.Dropdown(choices=conditions, value=condition if fits else conditions[0]),
            gr.Dropdown(choices=solvers, value=solver if solver in solvers else solvers[0]),
        ]

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Sample plain and shifted, and show both."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        request = ShiftRequest(*values).check(self.studio.models, self.studio.limits)
        yield {
            **self.controls.busy(),
            self.plain: _titled("Plain", grid([], request.images, "plain samples")),
            self.shifted: _titled("Shifted, from the same noises", grid([], request.images, "shifted samples")),
            self.difference: "",
            self.chart: _shift_chart(None),
            self.facts: "",
        }
        work = partial(run_comparison, self.studio, request)
        comparison = yield from self.controls.follow(session, work, self._news)
        asked = settings(dict(zip(self.inputs, values, strict=True)))
        yield self._end(comparison, asked)

    def _news(self, news: StepDone) -> Update:
        return {self.status: progress(f"model call {news.call} of {news.calls}", news.call / news.calls)}

    def _end(self, comparison: Comparison, asked: str) -> Update:
        request = comparison.request
        text = f"{request.images} noises, plain and shifted, by {request.solver} in {request.steps} steps."
        return {
            self.status: notice(text),
            self.plain: _titled("Plain", _pictures(comparison, "plain")),
            self.shifted: _titled("Shifted, from the same noises", _pictures(comparison, "shifted")),
            self.difference: _titled(f"Difference, {AMPLIFIED} times as large", _pictures(comparison, "difference")),
            self.chart: _shift_chart(comparison),
            self.facts: _facts(comparison) + asked,
            **self.controls.idle(),
        }


def _titled(title: str, content: str) -> str:
    return f'<h2 class="result-title">{escape(title)}</h2>{content}'


def _pictures(comparison: Comparison, which: str) -> str:
    files = {"plain": comparison.plain, "shifted": comparison.shifted, "difference": comparison.difference}[which]
    pictures = [
        Picture(
            file,
            f"{comparison.request.condition}, {which}, seed {comparison.request.seed + k}",
            f"seed {comparison.request.seed + k}",
            seed=comparison.request.seed + k,
        )
        for k, file in enumerate(files)
    ]
    return grid(pictures, len(files), f"{which} samples of {comparison.request.condition}")


def _shift_chart(comparison: Comparison | None) -> str:
    """How far the chosen times lie from the grid's, against the grid's; noise on the right."""
    if comparison is None:
        return line_chart([], "time of the grid", "chosen - grid", (0, 1000), "times chosen, none yet")
    dots, labels = [], []
    for time, row in zip(comparison.grid, comparison.chosen, strict=True):
        dots += [(time, chosen - time) for chosen in row]
        labels += [f"{time:.4g} of the grid, {chosen:.4g} chosen" for chosen in row]
    half = comparison.request.window / 2
    middle = [(time, sum(row) / len(row) - time) for time, row in zip(comparison.grid, comparison.chosen, strict=True)]
    edges = [
        Series("window" if sign > 0 else "", [(0, sign * half), (1000, sign * half)], "line", 2) for sign in (1, -1)
    ]
    return line_chart(
        [*edges, Series("each image", dots, "dots", 1, labels), Series("mean", middle, "line", 0)],
        "time of the grid",
        "chosen - grid",
        (0, 1000),
        "how far the chosen times lie from the grid's",
    )


def _facts(comparison: Comparison) -> str:
    request = comparison.request
    notes = "".join(notice(note) for note in comparison.notes)
    if comparison.saturated is None:
        share = "none was made"
    else:
        share = f"{comparison.saturated:.0%} fell on an end of the window, so a better time may lie beyond it"
    table = measured(request)
    rows = "".join(
        f"<tr><td>{time:.4g}</td><td>{', '.join(f'{one:.4g}' for one in row)}</td></tr>"
        for time, row in zip(comparison.grid, comparison.chosen, strict=True)
    )
    return (
        f"{notes}<p><strong>Matches:</strong> {share}.</p>"
        f"<p><strong>Measured ({term('FID')}):</strong> {escape(table or 'this setting is not in the table')}.</p>"
        "<details><summary>The grid's times and the times chosen</summary><table><thead><tr><th>grid</th>"
        f"<th>chosen, one for each image</th></tr></thead><tbody>{rows}</tbody></table></details>"
    )
