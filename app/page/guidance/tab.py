"""The tab that guides faster, and better: one prompt in several ways from the same noises, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from .... import assets
from ..controls import LIGHT, RUN, RunControls, Update, named, seconds_text
from ..judged import Sight, right_of
from ..models import IN_HAND
from ..pictures import Picture, grid, notice, progress
from ..studio import Studio
from .comparison import MOST_IMAGES, CallMade, Comparison, GuidanceRequest, Made, run_comparison

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
        gr.HTML(f'<p class="about">{ABOUT}</p>')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.prompt = gr.Textbox(PRESETS["Easy"], label="Prompt or class to guide", max_lines=3)
                with gr.Row(elem_classes="presets"):
                    self.presets = {
                        name: gr.Button(f"{name}: {text}", size="sm", elem_id=f"guidance-{name.lower()}")
                        for name, text in PRESETS.items()
                    }
                with gr.Row():
                    self.start = gr.Button("Compare the ways", variant="primary", elem_id="guide")
                    self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="guidance-cancel")
                self.status = gr.HTML(notice("Choose an example, or press Compare the ways."))
                with gr.Accordion("Model, scales, images and seed", open=False):
                    self.model = gr.Dropdown(
                        self.studio.models.pipelines, value=self.studio.models.model, label="Model"
                    )
                    with gr.Row():
                        self.guidance = gr.Textbox(
                            label="Guidance scale", max_lines=1, placeholder=DEFAULT, min_width=100
                        )
                        self.steps = gr.Textbox(label="Steps", max_lines=1, placeholder=DEFAULT, min_width=100)
                    self.scale = gr.Number(SCALE, label="Slow: how far beyond guidance (1 is guidance)")
                    self.stop = gr.Slider(0, 1, STOP, step=0.05, label="Interval: share of the steps that are guided")
                    self.images = gr.Slider(1, MOST_IMAGES, IMAGES, step=1, label="Images")
                    self.seed = gr.Number(0, label="Seed", precision=0, elem_classes="seed")
            with gr.Column(scale=3, min_width=320):
                self.shown = gr.HTML(_ways([], self._request(PRESETS["Easy"])), elem_id="ways")
        with gr.Column(visible=False) as self.result, gr.Accordion("Repeat this comparison", open=True):
            code = {"interactive": False, "wrap_lines": True, "show_line_numbers": False, "lines": 1}
            self.code = gr.Code(language="python", label="Python program", elem_id="guidance-code", **code)
            self.command = gr.Code(language="shell", label="Command lines", elem_id="guidance-command", **code)
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

    def _connect(self) -> None:
        self.controls = RunControls(
            self.studio, TITLE, self.status, self.start, self.cancel, list(self.presets.values())
        )
        outputs = [*self.controls.outputs, self.shown, self.result, self.code, self.command]
        run = {"fn": named(self.run, self.inputs), "inputs": list(self.inputs.values()), "outputs": outputs, **RUN}
        gr.on([self.start.click, self.prompt.submit], api_name="guidance", **run)
        for name, button in self.presets.items():
            filled = button.click(
                lambda name=name: [self.studio.models.model, PRESETS[name]], outputs=[self.model, self.prompt], **LIGHT
            )
            filled.then(api_visibility="private", **run)

    def _request(self, prompt: str) -> GuidanceRequest:
        """The one that the page shows before any is made."""
        return GuidanceRequest(self.studio.models.model, prompt, None, None, SCALE, STOP, IMAGES, 0)

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Sample in every way, and show what comes."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        request = GuidanceRequest(*values).check(self.studio.models, self.studio.limits)
        made: list[Made] = []
        yield {
            **self.controls.busy(),
            self.shown: _ways(made, request),
            self.result: gr.Column(visible=False),
        }
        work = partial(run_comparison, self.studio, request)
        comparison = yield from self.controls.follow(session, work, partial(self._news, request, made))
        yield self._end(comparison)

    def _news(self, request: GuidanceRequest, made: list[Made], news: CallMade | Made) -> Update:
        if isinstance(news, CallMade):
            text = f"{news.way}, {news.done + 1} of {news.ways}: model call {news.call}"
            return {self.status: progress(text, news.done / news.ways)}
        made.append(news)
        return {self.shown: _ways(made, request)}

    def _end(self, comparison: Comparison) -> Update:
        request, made = comparison.request, [one for one in comparison.made if one.refused is None]
        text = f"{request.images} noises, guided in {len(made)} ways."
        code, command = request.python(), request.command()
        if request.model == IN_HAND:
            command = f"# {IN_HAND}: an object in your program, which no command line can name\n"
        return {
            self.status: notice(text),
            self.shown: "".join(map(notice, comparison.notes)) + _ways(comparison.made, request),
            self.result: gr.Column(visible=True),
            self.code: code,
            self.command: command,
            **self.controls.idle(),
        }


def _ways(made: list[Made], request: GuidanceRequest) -> str:
    """A row for each way: what it is, its pictures, what it cost; those that are to come are empty."""
    rows = []
    for number, way in enumerate(request.ways):
        one = made[number] if number < len(made) else None
        title = f"<h3>{escape(way.title)}: {escape(way.says)}</h3>"
        rows.append(f"<section>{title}{_content(one, request)}</section>")
    if assets.weak_model(request.model) is None:
        rows.append(
            notice(
                f"Fast and slow steps need a weak model, and none ships with {request.model}; `samplesmith collect` "
                "and `samplesmith reflect` make one."
            )
        )
    return "".join(rows)


def _content(made: Made | None, request: GuidanceRequest) -> str:
    if made is None:
        return grid([], request.images, "to come")
    if made.refused is not None:
        return notice(made.refused, "wrong")
    seen: Sequence[Sight | None] = made.seen or [None] * len(made.files)
    pictures = [
        Picture(
            file,
            f"{request.prompt}, {made.way.title.lower()}, seed {request.seed + k}",
            f"seed {request.seed + k}",
            sight=sight,
            seed=request.seed + k,
        )
        for k, (file, sight) in enumerate(zip(made.files, seen, strict=True))
    ]
    facts = {"NFEs for each": f"{made.nfe:g}", "time": seconds_text(made.seconds), "judge": right_of(seen)}
    ledger = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in facts.items() if value)
    return f'{grid(pictures, request.images, made.way.title)}<dl class="ledger">{ledger}</dl>'
