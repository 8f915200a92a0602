"""The tab that draws in few steps: a student beside its teacher, and what the student finds in the teacher's time."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from ..controls import LIGHT, Update
from ..example import Example
from ..judged import SEE
from ..memory import settings, strip
from ..model_fields import ModelFields
from ..pictures import notice, progress
from ..repeat import Repeat
from ..run_events import Presets, connect_run
from ..studio import Studio
from .request import MOST_IMAGES, MOST_STEPS, OneStepRequest
from .run import CallMade, Drawn, OneStep, run_one_step
from .view import final_panel, panel, rows, summary

TITLE = "One step"
PRESETS = {
    "Pair": "two cats and a house on white",
    "Relation": "a car left of a tree on yellow",
    "Count": "five apples on green",
}
"""Prompts that each begin a run at one click."""
ABOUT = (
    "A student has learned from a slow model, its teacher, to draw in few steps and without guidance: here both draw "
    "from the same noises, and in the time of one picture by the teacher the student draws several and keeps the best."
)
NO_STUDENT = "No student ships with this page; `samplesmith distill` makes one."
IMAGES = 4


class OneStepTab:
    """Builds the tab, and holds its handlers; where no student is shipped, it says so and has no fields."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self.inputs: dict[str, Any] = {}
        self.shown: dict[str, Any] = {}
        gr.HTML(f'<p class="about">{ABOUT}</p>')
        if not studio.models.students:
            gr.HTML(notice(NO_STUDENT))
            return
        self._build()
        self._connect()

    def _build(self) -> None:
        models = self.studio.models
        prompt = next(iter(PRESETS.values()))
        example = Example.of(TITLE, models).shown
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.prompt = gr.Textbox(prompt, label="Prompt for both", lines=1, max_lines=4)
                with gr.Row(elem_classes="presets"):
                    self.presets = {
                        name: gr.Button(f"{name}: {text}", size="sm", elem_id=f"one-step-{name.lower()}")
                        for name, text in PRESETS.items()
                    }
                with gr.Row():
                    self.start = gr.Button("Draw by both", variant="primary", elem_id="one-step-start")
                    self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="one-step-cancel")
                self.status = gr.HTML(notice("Choose an example, or press Draw by both."))
                self.seed = gr.Number(0, label="Seed", precision=0, elem_classes="seed")
                self.choice = ModelFields(
                    models,
                    "Judge: measures, takes no part in the choice",
                    "Verifier: chooses the student's best",
                    "Student",
                    models.students,
                )
                with gr.Accordion("Steps and images", open=False):
                    self.steps = gr.Textbox(
                        label="Steps of the student",
                        info=f"numbers up to {MOST_STEPS}; the largest draws its best of N too",
                        max_lines=1,
                        placeholder="1, 2 and the model's own",
                    )
                    self.images = gr.Slider(1, MOST_IMAGES, IMAGES, step=1, label="Images of each")
            with gr.Column(scale=3, min_width=320):
                values = {**self.choice.first(models.students[0]), "prompt": prompt, "seed": 0, "steps": ""}
                first = OneStepRequest.of(models, self.studio.limits, images=IMAGES, **values)
                self.answer = gr.HTML(example.get("answer", panel([], first)), elem_id="one-step-result")
                gr.HTML(strip() + SEE)
                self.rows = gr.HTML(example.get("rows", rows([], first)), elem_id="one-step-rows")
                self.facts = gr.HTML(example.get("facts", ""))
                code, command = example.get("code", ""), example.get("command", "")
                self.repeat = Repeat(models, "one-step", code, command, "Repeat this comparison")
        self.inputs = {
            "prompt": self.prompt,
            **self.choice.boxes,
            "steps": self.steps,
            "images": self.images,
            "seed": self.seed,
        }
        self.shown = {"answer": self.answer, "rows": self.rows, "facts": self.facts, **self.repeat.fields}

    def _connect(self) -> None:
        typed = [self.prompt, self.steps, self.seed]
        presets = Presets(self.presets, PRESETS.get, [self.prompt])
        self.controls = connect_run(self, TITLE, typed, presets)
        boxes = list(self.choice.boxes.values())
        self.choice.model.change(self.choice.follow, boxes, boxes, **LIGHT)

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Draw by both, and show what comes."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        asked = dict(zip(self.inputs, values, strict=True))
        request = OneStepRequest.of(self.studio.models, self.studio.limits, **asked).check()
        drawn: list[Drawn] = []
        yield {**self.controls.busy(), **self._shown(drawn, request), self.facts: "", **self.repeat.blank()}
        work = partial(run_one_step, self.studio, request)
        done = yield from self.controls.follow(session, work, partial(self._news, request, drawn))
        yield self._end(done, settings(asked))

    def _shown(self, drawn: list[Drawn], request: OneStepRequest) -> Update:
        return {self.answer: panel(drawn, request), self.rows: rows(drawn, request)}

    def _news(self, request: OneStepRequest, drawn: list[Drawn], news: CallMade | Drawn) -> Update:
        if isinstance(news, CallMade):
            return {self.status: progress(f"{news.says}: model call {news.call}", news.share)}
        drawn.append(news)
        return self._shown(drawn, request)

    def _end(self, done: OneStep, asked: str) -> Update:
        request, count, models = done.request, done.best.count, self.studio.models
        code, names = request.python(count, models.in_hand), [request.student, *request.job.guides]
        return {
            self.status: notice(summary(done)),
            self.answer: final_panel(done),
            self.rows: rows(done.drawn, request, done.best),
            self.facts: "".join(map(notice, done.notes)) + asked,
            **self.repeat.of(code, partial(request.command, count), names),
            **self.controls.idle(),
        }
