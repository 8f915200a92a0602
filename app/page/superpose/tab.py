"""The tab that superposes prompts: AND, OR, NOT and formulas, beside the mean and a joint prompt of the same noises."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from ....pipelines.superposition.job import STEPS, SuperposeJob
from ..controls import LIGHT, Update
from ..example import Example
from ..memory import settings, strip
from ..model_fields import ModelFields
from ..models import IN_HAND
from ..on_the_way import OnTheWay
from ..pictures import notice, progress
from ..repeat import Repeat
from ..run_events import Presets, connect_run
from ..studio import Studio
from .request import MOST_IMAGES, OPERATORS, checked_job
from .run import StepDone, Superposed, run_superposition
from .view import (
    density_chart,
    facts,
    final_answer,
    kappa_chart,
    pictures,
    places,
    summary,
    waiting,
)

TITLE = "Superpose"
IMAGES = 2
PRESETS = {
    "AND": ("with a cat\nwith a dog", "and"),
    "OR": ("a cat on pink\na star on blue", "or"),
    "NOT": ('"with a cat" & ~"on blue"', "and"),
    "Three": ('"with a cat" & ("on pink" | "on yellow")', "and"),
}
"""What is superposed, and the operator, that each begin a run at one click."""

ABOUT = (
    "Superpose draws one picture of several prompts, joined by AND, OR and NOT: it helps where one sentence that names "
    "them all is not understood."
)


class SuperposeTab:
    """Builds the tab, and holds its handlers."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self._build()
        self._connect()

    def _build(self) -> None:
        models = self.studio.models
        example = Example.of(TITLE, models).shown
        what, operator = PRESETS["AND"]
        gr.HTML(f'<p class="about">{ABOUT}</p>')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.what = gr.Textbox(
                    what,
                    label="Prompts, one a line; or a formula",
                    info='a formula has its prompts in quotes: "with a cat" & ~("on blue" | "on pink")',
                    lines=3,
                    max_lines=6,
                    elem_id="superpose-what",
                )
                with gr.Row(elem_classes="presets"):
                    self.presets = {
                        name: gr.Button(f"{name}: {', '.join(text.splitlines())}", size="sm", elem_id=f"preset-{name}")
                        for name, (text, _) in PRESETS.items()
                    }
                with gr.Row():
                    self.operator = gr.Dropdown(
                        list(OPERATORS), value=operator, label="Operator of prompts", min_width=120
                    )
                    self.images = gr.Slider(1, MOST_IMAGES, IMAGES, step=1, label="Images", min_width=120)
                with gr.Row():
                    self.start = gr.Button("Superpose", variant="primary", elem_id="superpose-start")
                    self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="superpose-cancel")
                self.status = gr.HTML(notice("Choose an example, or write prompts and press Superpose."))
                self.seed = gr.Number(0, label="Seed", precision=0, elem_classes="seed")
                self.choice = ModelFields(models, "Judge: says of each image what holds")
                with gr.Accordion("Steps, temperature and guidance", open=False):
                    self.steps = gr.Textbox(label="Steps", max_lines=1, placeholder=str(STEPS))
                    self.temperature = gr.Textbox(
                        label="Temperature of OR and formulas: below 1 they decide later", max_lines=1, placeholder="1"
                    )
                    self.guidance = gr.Textbox(label="Guidance scale", max_lines=1, placeholder="the model's own")
            with gr.Column(scale=3, min_width=320):
                blank = waiting(SuperposeJob(tuple(what.splitlines()), operator=operator))
                self.answer = gr.HTML(example.get("answer", blank), elem_id="superpose-result")
                gr.HTML(strip())
                self.pictures = gr.HTML(example.get("pictures", places(None, IMAGES)), elem_id="superposed")
                self.kappa = gr.HTML(example.get("kappa", kappa_chart(None)), elem_id="kappa")
                self.densities = gr.HTML(example.get("densities", density_chart(None)))
                self.facts = gr.HTML(example.get("facts", ""), elem_id="superpose-facts")
                self.repeat = Repeat(models, "superpose", example.get("code", ""), example.get("command", ""))
        self.inputs = {
            "what": self.what,
            "operator": self.operator,
            **self.choice.boxes,
            "images": self.images,
            "steps": self.steps,
            "temperature": self.temperature,
            "guidance_scale": self.guidance,
            "seed": self.seed,
        }
        self.shown = {
            "answer": self.answer,
            "pictures": self.pictures,
            "kappa": self.kappa,
            "densities": self.densities,
            "facts": self.facts,
            **self.repeat.fields,
        }

    def _connect(self) -> None:
        typed = [self.seed, self.steps, self.temperature, self.guidance]
        presets = Presets(self.presets, self._preset, list(self.inputs.values()))
        self.controls = connect_run(self, TITLE, typed, presets)
        boxes = list(self.choice.boxes.values())
        self.choice.model.change(self.choice.follow, boxes, boxes, **LIGHT)

    def _preset(self, name: str) -> list[Any]:
        what, operator = PRESETS[name]
        values = {
            **self.choice.first(self.studio.models.model),
            "what": what,
            "operator": operator,
            "images": IMAGES,
            "seed": 0,
        }
        return [values.get(field, "") for field in self.inputs]

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Superpose, and show what came of it."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        asked = dict(zip(self.inputs, values, strict=True))
        job = checked_job(self.studio.models, self.studio.limits, **asked)
        yield {
            **self.controls.busy(),
            self.answer: waiting(job),
            self.pictures: places(job, job.num_images),
            self.kappa: kappa_chart(None),
            self.densities: density_chart(None),
            self.facts: "",
            **self.repeat.blank(),
        }
        work = partial(run_superposition, self.studio, job)
        done = yield from self.controls.follow(session, work, partial(self._news, job))
        yield self._end(done, settings(asked))

    def _news(self, job: SuperposeJob, news: StepDone | OnTheWay) -> Update:
        if isinstance(news, OnTheWay):
            return {self.answer: waiting(job, news)}
        return {self.status: progress(f"step {news.step} of {news.steps}", news.step / news.steps)}

    def _end(self, done: Superposed, asked: str) -> Update:
        job = done.job
        code, names = job.python(self.studio.models.in_hand), [job.model or IN_HAND, job.judge]
        return {
            self.status: notice(summary(done)),
            self.answer: final_answer(done),
            self.pictures: pictures(done),
            self.kappa: kappa_chart(done.outcome),
            self.densities: density_chart(done.outcome),
            self.facts: facts(done, asked),
            **self.repeat.of(code, job.command, names),
            **self.controls.idle(),
        }
