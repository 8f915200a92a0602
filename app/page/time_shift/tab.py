"""The tab that shifts times: plain and shifted samples of the same noises, and which times were chosen."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from ..controls import LIGHT, Update
from ..example import Example
from ..memory import settings, strip
from ..models import DEFAULT_MODEL
from ..pictures import notice, progress
from ..run_events import Presets, connect_run
from ..studio import Studio
from ..words import GLOSSARY
from .comparison import MOST_IMAGES, VARIANTS, Comparison, ShiftRequest, StepDone, fitting_solvers, run_comparison
from .view import facts, final_answer, pictures, shift_chart, titled_grid, waiting

TITLE = "Time shift"
PIXEL_MODEL = "fashion-ddpm"
"""Shown first where it is shipped: an epsilon model of pixels, which the method was made for."""
EXAMPLES = ("a star on blue", "two cats and a house on white")
PRESETS: dict[str, dict[str, Any]] = {
    "Measured win": {
        "solver": "pndm",
        "steps": 10,
        "window": 20,
        "cutoff": 200,
        "data_variance": 0.44,
        "per_image": False,
    },
    "Few steps": {"steps": 10, "window": 40, "cutoff": 500},
    "Wide window": {"steps": 10, "window": 160, "cutoff": 500},
}
"""Settings that each begin a run at one click. The first is the best of the measured table, and stands there first."""
ABOUT = (
    "Time shift calls the model at the time whose noise fits the sample it has, in place of the time that the solver's "
    "grid says: it helps where few steps leave the two apart, and may hurt elsewhere; what was measured is said below."
)
PLAIN: dict[str, Any] = {"solver": None, "data_variance": 0.0, "per_image": True}
"""What a preset does not say: the model's own solver, and the paper's matching."""
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
        example = Example.of(TITLE, self.studio.models).shown
        conditions = self._conditions(model)
        first = {**PLAIN, **PRESETS["Measured win" if model == PIXEL_MODEL else "Few steps"]}
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
                    self.solver = gr.Dropdown(
                        value=first["solver"], label="Solver", allow_custom_value=True, min_width=120
                    )
                    self.steps = gr.Number(first["steps"], label="Steps", precision=0, min_width=80)
                with gr.Row():
                    self.window, self.cutoff = (
                        gr.Number(first[name], label=name.capitalize(), precision=0, min_width=80, info=GLOSSARY[name])
                        for name in ("window", "cutoff")
                    )
                with gr.Row():
                    self.start = gr.Button("Compare", variant="primary", elem_id="compare")
                    self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="shift-cancel")
                self.status = gr.HTML(notice("Choose an example, or press Compare."))
                self.seed = gr.Number(0, label="Seed", precision=0, elem_classes="seed")
                with gr.Accordion("Matching and images", open=False):
                    self.variant = gr.Dropdown(list(VARIANTS), value=VARIANTS[0], label="Variant")
                    self.data_variance = gr.Number(
                        first["data_variance"], label="Variance of the clean data (the paper neglects it: 0)"
                    )
                    self.per_image = gr.Checkbox(first["per_image"], label="A time for each image")
                    self.images = gr.Slider(1, MOST_IMAGES, IMAGES, step=1, label="Images")
            with gr.Column(scale=3, min_width=320):
                blank = {name: titled_grid(name, [], IMAGES) for name in ("plain", "shifted")}
                self.answer = gr.HTML(example.get("answer", waiting(conditions[0])), elem_id="shift-result")
                gr.HTML(strip())
                self.plain = gr.HTML(example.get("plain", blank["plain"]))
                self.shifted = gr.HTML(example.get("shifted", blank["shifted"]))
                self.difference = gr.HTML(example.get("difference", ""))
                self.chart = gr.HTML(example.get("chart", shift_chart(None)))
                self.facts = gr.HTML(example.get("facts", ""))
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
        self.shown = {
            "answer": self.answer,
            "plain": self.plain,
            "shifted": self.shifted,
            "difference": self.difference,
            "chart": self.chart,
            "facts": self.facts,
        }

    def _connect(self) -> None:
        typed = [self.steps, self.window, self.cutoff, self.data_variance, self.seed]
        presets = Presets(self.presets, self._preset, [self.inputs[name] for name in _SET], [self.model])
        self.controls = connect_run(self, TITLE, typed, presets)
        # At arrival too: what needs the library's imports is filled in then, so that the page answers before them.
        gr.on(
            None, self._follow_model, [self.model, self.condition, self.solver], [self.condition, self.solver], **LIGHT
        )

    def _preset(self, name: str, model: str) -> list[Any]:
        """Its settings; where the model is no match for its solver, the model's own."""
        solvers = fitting_solvers(self.studio.models, model)
        values = {**PLAIN, **PRESETS[name]}
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
            # What fits is not written again: a link may have filled the box meanwhile.
            gr.update(choices=conditions, **({} if fits else {"value": conditions[0]})),
            gr.update(choices=solvers, **({} if solver in solvers else {"value": solvers[0]})),
        ]

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Sample plain and shifted, and show both."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        request = ShiftRequest(*values).check(self.studio.models, self.studio.limits)
        yield {
            **self.controls.busy(),
            self.answer: waiting(request.condition),
            self.plain: titled_grid("plain", [], request.images),
            self.shifted: titled_grid("shifted", [], request.images),
            self.difference: "",
            self.chart: shift_chart(None),
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
            self.answer: final_answer(comparison),
            self.plain: pictures(comparison, "plain"),
            self.shifted: pictures(comparison, "shifted"),
            self.difference: pictures(comparison, "difference"),
            self.chart: shift_chart(comparison),
            self.facts: facts(comparison) + asked,
            **self.controls.idle(),
        }
