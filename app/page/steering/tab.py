"""The tab that steers: the image beside best-of-N's, the path as it grows, and what each step tried."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from ..answer import Shot, answer
from ..controls import LIGHT, Update
from ..example import Example
from ..judged import SEE
from ..library import import_library
from ..memory import settings, strip
from ..model_fields import ModelFields
from ..models import IN_HAND
from ..pictures import grid, notice, progress
from ..repeat import Repeat
from ..run_events import Presets, connect_run
from ..studio import Studio
from .request import TRANSITIONS, checked_job
from .run import Nodes, Outcome, RivalSpent, run_steering
from .view import RIVAL, SteeringView, facts, final_answer, reward_chart, summary

TITLE = "Steering"
PRESETS = {
    "FK steering": ("smc:tilt=100", "two cats and three stars on blue"),
    "Threshold": ("threshold", "two dogs above a boat on blue"),
    "Rollover": ("rbf:warm_up=4", "five apples on green"),
}
"""Strategies and prompts that each begin a run at one click."""
BUDGET, STEPS, BATCH_SIZE = 160, 8, 8

ABOUT = (
    "Steering looks at the picture while it is being drawn, tries several ways to go on at each step and keeps the one "
    "that scores highest: it helps where whole draws are too dear to try many of them."
)


class SteeringTab:
    """Builds the tab, and holds its handlers."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self._build()
        self._connect()

    def _build(self) -> None:
        models = self.studio.models
        strategy, prompt = next(iter(PRESETS.values()))
        example = Example.of(TITLE, models).shown
        gr.HTML(f'<p class="about">{ABOUT}</p>')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.prompt = gr.Textbox(prompt, label="Prompt to steer", lines=1, max_lines=4, elem_id="steer-prompt")
                with gr.Row(elem_classes="presets"):
                    self.presets = {
                        name: gr.Button(f"{name}: {text}", size="sm", elem_id=f"steer-{name.split()[0].lower()}")
                        for name, (_, text) in PRESETS.items()
                    }
                self.strategy = gr.Dropdown(
                    [strategy],
                    value=strategy,
                    label="Strategy that chooses",
                    info="settings may follow, as svdd:children=4",
                    allow_custom_value=True,
                    elem_id="steer-strategy",
                )
                with gr.Row():
                    self.budget = gr.Number(BUDGET, label="Budget, in NFEs", precision=0, elem_id="steer-budget")
                    self.steps = gr.Number(STEPS, label="Steps of a path", precision=0, elem_id="steer-steps")
                with gr.Row():
                    self.start = gr.Button("Steer", variant="primary", elem_id="steer-start")
                    self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="steer-cancel")
                self.status = gr.HTML(notice("Choose an example, or press Steer."))
                self.seed = gr.Number(0, label="Seed", precision=0, elem_classes="seed")
                self.choice = ModelFields(
                    models, "Judge: measures, takes no part in the choice", "Verifier: chooses, at each step"
                )
                with gr.Accordion("Noise of the steps, and guidance", open=False):
                    self.transition = gr.Dropdown(list(TRANSITIONS), value=TRANSITIONS[0], label="Transition")
                    self.guidance = gr.Textbox(label="Guidance scale", max_lines=1, placeholder="the model's own")
                    self.batch_size = gr.Number(BATCH_SIZE, label="Candidates in one call", precision=0)
            with gr.Column(scale=3, min_width=320):
                blank = answer(prompt, [Shot(title, note="will stand here") for title in ("Steered", RIVAL)])
                self.answer = gr.HTML(example.get("answer", blank), elem_id="steer-result")
                gr.HTML(strip() + SEE)
                self.path = gr.HTML(example.get("path", grid([], STEPS, "the path")), elem_id="steer-path")
                self.chart = gr.HTML(example.get("chart", reward_chart([], [], BUDGET)), elem_id="steer-chart")
                self.tries = gr.HTML(example.get("tries", ""), elem_id="steer-tries")
                self.facts = gr.HTML(example.get("facts", ""), elem_id="steer-facts")
                self.repeat = Repeat(models, "steer", example.get("code", ""), example.get("command", ""))
        self.inputs = {
            "prompt": self.prompt,
            **self.choice.boxes,
            "strategy": self.strategy,
            "budget": self.budget,
            "steps": self.steps,
            "transition": self.transition,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "guidance_scale": self.guidance,
        }
        self.shown = {
            "answer": self.answer,
            "path": self.path,
            "chart": self.chart,
            "tries": self.tries,
            "facts": self.facts,
            **self.repeat.fields,
        }

    def _connect(self) -> None:
        typed = [self.prompt, self.budget, self.steps, self.seed, self.guidance]
        presets = Presets(self.presets, self._preset, list(self.inputs.values()))
        self.controls = connect_run(self, TITLE, typed, presets)
        # At arrival too: what needs the library's imports is filled in then, so that the page answers before them.
        boxes = list(self.choice.boxes.values())
        gr.on(None, self._follow_model, boxes, [*boxes, self.strategy], **LIGHT)

    def _preset(self, name: str) -> list[Any]:
        strategy, prompt = PRESETS[name]
        values = {
            **self.choice.first(self.studio.models.model),
            "prompt": prompt,
            "strategy": strategy,
            "budget": BUDGET,
            "steps": STEPS,
            "transition": TRANSITIONS[0],
            "seed": 0,
            "batch_size": BATCH_SIZE,
        }
        return [values.get(field, "") for field in self.inputs]

    def _follow_model(self, *chosen: str) -> list[Any]:
        import_library()
        from ....samplers.strategies import STRATEGIES, Need

        steering = [name for name, kind in STRATEGIES.items() if Need.PAUSES in kind.needs]
        return [*self.choice.follow(*chosen), gr.Dropdown(choices=steering)]

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Steer, draw best-of-N, and show what comes."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        asked = dict(zip(self.inputs, values, strict=True))
        job = checked_job(self.studio.models, self.studio.limits, **asked)
        view = SteeringView(job)
        yield {**self.controls.busy(), **self._shown(view), self.facts: "", **self.repeat.blank()}
        work = partial(run_steering, self.studio, job)
        outcome = yield from self.controls.follow(session, work, partial(self._news, view))
        yield self._end(outcome, view, settings(asked))

    def _shown(self, view: SteeringView) -> Update:
        return {
            self.answer: view.answer(),
            self.path: view.strip(),
            self.chart: view.chart(),
            self.tries: view.tries(),
        }

    def _news(self, view: SteeringView, news: Nodes | RivalSpent) -> Update:
        if isinstance(news, RivalSpent):
            text = f"best of whole draws for the same budget: {news.nfe:,} of {view.budget:,} NFEs"
            return {self.status: progress(text, news.nfe / view.budget)}
        view.take(news)
        return {self.status: view.progress(), **self._shown(view)}

    def _end(self, outcome: Outcome | None, view: SteeringView, asked: str) -> Update:
        if outcome is None:
            return {self.status: notice("Cancelled before a node had come."), **self.controls.idle()}
        view.end(outcome)
        job = outcome.job
        note = "# cancelled on the way; this makes the whole search\n" if outcome.stopped else ""
        code, names = job.python(self.studio.models.in_hand), [job.model or IN_HAND, *job.verifiers, job.judge]
        return {
            self.status: notice(summary(outcome), "wrong" if outcome.result.failed else "calm"),
            **self._shown(view),
            self.answer: final_answer(outcome),
            self.facts: facts(outcome, asked),
            **self.repeat.of(code, job.command, names, note),
            **self.controls.idle(),
        }
