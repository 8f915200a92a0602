"""The tab that guides faster, and better: one prompt in several ways from the same noises, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from ..controls import Update
from ..example import Example
from ..judged import SEE
from ..memory import settings, strip
from ..on_the_way import OnTheWay
from ..pictures import notice, progress
from ..repeat import Repeat
from ..run_events import Presets, connect_run
from ..studio import Studio
from .comparison import MOST_IMAGES, CallMade, Comparison, GuidanceRequest, Made, run_comparison
from .view import panel, summary, ways

TITLE = "Guidance"
PRESETS = {
    "Easy": "a star on blue",
    "Pair": "two cats and a house on white",
    "Relation": "a car left of a tree on yellow",
}
"""Prompts that each begin a run at one click."""
ABOUT = (
    "Faster, better: plain guidance evaluates the model twice for each step. Other ways evaluate it once in some "
    "steps, or lead further than guidance does; here they begin from the same noises, with what each costs."
)
IMAGES, SCALE, STOP = 4, 1.5, 0.3
DEFAULT = "the model's own"


class GuidanceTab:
    """Builds the tab, and holds its handlers."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self._build()
        self._connect()

    def _build(self) -> None:
        models = self.studio.models
        example = Example.of(TITLE, models).shown
        gr.HTML(f'<p class="about">{ABOUT}</p>')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.prompt = gr.Textbox(PRESETS["Easy"], label="Prompt or class to guide", lines=1, max_lines=4)
                with gr.Row(elem_classes="presets"):
                    self.presets = {
                        name: gr.Button(f"{name}: {text}", size="sm", elem_id=f"guidance-{name.lower()}")
                        for name, text in PRESETS.items()
                    }
                with gr.Row():
                    self.start = gr.Button("Compare the ways", variant="primary", elem_id="guide")
                    self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="guidance-cancel")
                self.status = gr.HTML(notice("Choose an example, or press Compare the ways."))
                self.seed = gr.Number(0, label="Seed", precision=0, elem_classes="seed")
                with gr.Accordion("Model, scales and images", open=False):
                    self.model = gr.Dropdown(models.pipelines, value=models.model, label="Model")
                    with gr.Row():
                        self.guidance = gr.Textbox(
                            label="Guidance scale", max_lines=1, placeholder=DEFAULT, min_width=100
                        )
                        self.steps = gr.Textbox(label="Steps", max_lines=1, placeholder=DEFAULT, min_width=100)
                    self.scale = gr.Number(SCALE, label="Slow: how far beyond guidance (1 is guidance)")
                    self.stop = gr.Slider(0, 1, STOP, step=0.05, label="Interval: share of the steps that are guided")
                    self.images = gr.Slider(1, MOST_IMAGES, IMAGES, step=1, label="Images")
            with gr.Column(scale=3, min_width=320):
                first = GuidanceRequest(models.model, PRESETS["Easy"], None, None, SCALE, STOP, IMAGES, 0)
                self.answer = gr.HTML(example.get("answer", panel([], first)), elem_id="guidance-result")
                gr.HTML(strip() + SEE)
                self.ways = gr.HTML(example.get("ways", ways([], first)), elem_id="ways")
                self.facts = gr.HTML(example.get("facts", ""))
                code, command = example.get("code", ""), example.get("command", "")
                self.repeat = Repeat(models, "guidance", code, command, "Repeat this comparison")
        self.inputs = {
            "model": self.model,
            "prompt": self.prompt,
            "guidance_scale": self.guidance,
            "steps": self.steps,
            "scale": self.scale,
            "stop": self.stop,
            "images": self.images,
            "seed": self.seed,
        }
        self.shown = {"answer": self.answer, "ways": self.ways, "facts": self.facts, **self.repeat.fields}

    def _connect(self) -> None:
        typed = [self.prompt, self.guidance, self.steps, self.scale, self.seed]
        presets = Presets(self.presets, self._preset, [self.model, self.prompt])
        self.controls = connect_run(self, TITLE, typed, presets)

    def _preset(self, name: str) -> list[str]:
        return [self.studio.models.model, PRESETS[name]]

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Sample in every way, and show what comes."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        request = GuidanceRequest(*values).check(self.studio.models, self.studio.limits)
        made: list[Made] = []
        yield {**self.controls.busy(), **self._shown(made, request), self.facts: "", **self.repeat.blank()}
        work = partial(run_comparison, self.studio, request)
        comparison = yield from self.controls.follow(session, work, partial(self._news, request, made))
        yield self._end(comparison, settings(dict(zip(self.inputs, values, strict=True))))

    def _shown(self, made: list[Made], request: GuidanceRequest) -> Update:
        return {self.answer: panel(made, request), self.ways: ways(made, request)}

    def _news(self, request: GuidanceRequest, made: list[Made], news: CallMade | OnTheWay | Made) -> Update:
        if isinstance(news, OnTheWay):
            return {self.answer: panel(made, request, news)}
        if isinstance(news, CallMade):
            text = f"{news.way}, {news.done + 1} of {news.ways}: model call {news.call}"
            return {self.status: progress(text, news.done / news.ways)}
        made.append(news)
        return self._shown(made, request)

    def _end(self, comparison: Comparison, asked: str) -> Update:
        request = comparison.request
        return {
            self.status: notice(summary(comparison)),
            **self._shown(comparison.made, request),
            self.facts: "".join(map(notice, comparison.notes)) + asked,
            **self.repeat.of(request.python(), request.command, [request.model]),
            **self.controls.idle(),
        }
