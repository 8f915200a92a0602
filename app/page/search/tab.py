"""The tab that searches: candidates come in batch by batch, the best is marked, and the run can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from ....pipelines.search.job import AUTO, SearchJob
from ..answer import Shot, answer
from ..controls import LIGHT, Update, seconds_text
from ..example import Example
from ..judged import SEE
from ..library import import_library
from ..memory import settings, strip
from ..model_fields import ModelFields
from ..models import IN_HAND
from ..on_the_way import OnTheWay
from ..pictures import grid, notice
from ..repeat import Repeat
from ..run_events import Presets, connect_run
from ..studio import Studio
from ..words import folded_chips, scene_words
from .cost import CostEstimate
from .request import checked_job
from .run import Batch, Begun, Outcome, costs_alike, run_search
from .view import FIRST, SearchView, facts, final_answer, score_chart, summary

TITLE = "Search"
DEFAULT = "the model's own"
PRESETS = {
    "Easy": "a star on blue",
    "Hard count": "five apples on green",
    "Hard relation": "two dogs above a boat on blue",
}
"""Prompts that each begin a run at one click; a model of classes has classes in their places."""
LANDING = "Hard count"
"""The preset whose prompt stands there first; its run is stored."""
STRATEGY, CANDIDATES, BATCH_SIZE = "random", 8, 2
ABOUT = (
    "Search draws your prompt from several random seeds and keeps the picture that a second model scores highest: it "
    "helps where one draw often gets the prompt wrong."
)


class SearchTab:
    """Builds the tab, and holds its handlers."""

    def __init__(self, studio: Studio):
        self.studio = studio
        self.costs = CostEstimate(studio.models)
        self._build()
        self._connect()

    def _build(self) -> None:
        models, limits = self.studio.models, self.studio.limits
        model = models.model
        example = Example.of(TITLE, models).shown
        first = self._prompts(model)[LANDING]
        gr.HTML(f'<p class="about">{ABOUT}</p>')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                # One line: Enter runs, and the field grows with what is written.
                self.prompt = gr.Textbox(first, label="Prompt", lines=1, max_lines=4, elem_id="prompt")
                self.known = gr.HTML(self._known_words(model))
                with gr.Row(elem_classes="presets"):
                    self.presets = {
                        name: gr.Button(shown, size="sm", elem_id=f"preset-{name.split()[-1].lower()}")
                        for name, shown in zip(PRESETS, self._preset_texts(model), strict=True)
                    }
                self.candidates = gr.Slider(
                    1, limits.candidates, CANDIDATES, step=1, label="Budget, in candidates", elem_id="budget"
                )
                self.estimate = gr.HTML("<p>&nbsp;</p>", elem_classes="estimate")
                with gr.Row():
                    self.start = gr.Button("Search", variant="primary", elem_id="start")
                    self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel")
                self.status = gr.HTML(
                    notice("Choose an example, or write a prompt and press Search."), elem_id="status"
                )
                with gr.Row(equal_height=True):
                    self.seed = gr.Number(0, label="Seed", precision=0, elem_classes="seed", min_width=100)
                    self.random = gr.Button("Random seed", size="sm", min_width=100, elem_id="random-seed")
                self.choice = ModelFields(models, "Judge: measures, takes no part in the choice", "Verifier: chooses")
                with gr.Accordion("Strategy and steps", open=False):
                    self.strategy = gr.Dropdown(
                        [STRATEGY],
                        value=STRATEGY,
                        label="Strategy",
                        info="settings may follow, as zero-order:neighbours=4,angle=0.4",
                        allow_custom_value=True,
                    )
                    self.steps = gr.Textbox(
                        label=self._steps_label(model), max_lines=1, placeholder=DEFAULT, elem_id="steps"
                    )
                    self.guidance = gr.Textbox(label="Guidance scale", max_lines=1, placeholder=DEFAULT)
                    self.batch_size = gr.Number(BATCH_SIZE, label="Candidates in one call", precision=0)
                    with gr.Row():
                        self.height, self.width = (
                            gr.Textbox(
                                label=name.capitalize(), max_lines=1, placeholder=self._side(model, name), min_width=80
                            )
                            for name in ("height", "width")
                        )
            with gr.Column(scale=3, min_width=320):
                blank = answer(first, [Shot("Best", note="will stand here"), Shot(FIRST, note="will stand here")])
                self.answer = gr.HTML(example.get("answer", blank), elem_id="result")
                gr.HTML(strip() + SEE)
                places = grid([], CANDIDATES, "candidates")
                self.gallery = gr.HTML(example.get("gallery", places), elem_id="gallery")
                self.chart = gr.HTML(example.get("chart", score_chart([], None)), elem_id="chart")
                self.facts = gr.HTML(example.get("facts", ""), elem_id="facts")
                self.repeat = Repeat(models, "search", example.get("code", ""), example.get("command", ""))
        self.inputs = {
            "prompt": self.prompt,
            **self.choice.boxes,
            "strategy": self.strategy,
            "candidates": self.candidates,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "steps": self.steps,
            "guidance_scale": self.guidance,
            "height": self.height,
            "width": self.width,
        }
        self.shown = {
            "answer": self.answer,
            "gallery": self.gallery,
            "chart": self.chart,
            "facts": self.facts,
            **self.repeat.fields,
        }

    def _connect(self) -> None:
        typed = [self.prompt, self.seed, self.steps, self.guidance, self.batch_size, self.height, self.width]
        presets = Presets(self.presets, self._preset, list(self.inputs.values()), [self.choice.model])
        self.controls = connect_run(self, TITLE, typed, presets, also_changes=[self.estimate])
        self.random.click(None, outputs=self.seed, js="() => Math.floor(Math.random() * 2 ** 31)", **LIGHT)
        # At arrival too: what needs the library's imports is filled in then, so that the page answers before them.
        boxes = list(self.choice.boxes.values())
        of_model = [*boxes, self.steps, self.height, self.width, self.strategy, self.known, *self.presets.values()]
        gr.on(None, self._follow_model, boxes, of_model, **LIGHT)
        priced = [self.choice.model, self.candidates, self.steps, self.guidance]
        gr.on(None, self._estimate, priced, self.estimate, trigger_mode="always_last", preprocess=False, **LIGHT)

    def _prompts(self, model: str) -> dict[str, str]:
        """What the presets ask for."""
        labels = self.studio.models.labels(model)
        return dict(zip(PRESETS, labels, strict=False)) if len(labels) >= len(PRESETS) else PRESETS

    def _preset_texts(self, model: str) -> list[str]:
        prompts = self._prompts(model)
        return [text if prompts is not PRESETS else f"{name}: {text}" for name, text in prompts.items()]

    def _known_words(self, model: str) -> str:
        """What the model draws, folded away; nothing for one that takes any words."""
        models = self.studio.models
        if labels := models.labels(model):
            return folded_chips("Classes of this model", {"classes": tuple(labels)}, "*")
        return folded_chips("Words this model knows", scene_words()) if models.speaks_of_scenes(model) else ""

    def _preset(self, name: str, model: str) -> list[Any]:
        values = {
            **self.choice.first(model),
            "prompt": self._prompts(model)[name],
            "strategy": STRATEGY,
            "candidates": CANDIDATES,
            "seed": 0,
            "batch_size": BATCH_SIZE,
        }
        return [values.get(field, "") for field in self.inputs]

    def _follow_model(self, model: str, *chosen: str) -> list[Any]:
        """The fields that depend on the model; a choice that fits it stays."""
        import_library()
        from ....samplers.strategies import STRATEGIES, Need

        noise = [name for name, kind in STRATEGIES.items() if Need.STOCHASTIC_STEPS not in kind.needs]
        return [
            *self.choice.follow(model, *chosen),
            gr.Textbox(label=self._steps_label(model)),
            *(gr.Textbox(placeholder=self._side(model, name)) for name in ("height", "width")),
            gr.Dropdown(choices=noise),
            self._known_words(model),
            *(gr.Button(text) for text in self._preset_texts(model)),
        ]

    def _side(self, model: str, name: str) -> str:
        """What stands in an empty field of a side."""
        side = self.studio.models.default_side(model, name)
        return DEFAULT if side is None else f"{side}, {DEFAULT}"

    def _steps_label(self, model: str) -> str:
        models = self.studio.models
        default = models.default_steps(model)
        known = "" if default is None else f" ({default} by default)"
        auto = f"; {AUTO}: as the calibration spends the budget best" if models.has_calibration(model) else ""
        return f"Steps{known}{auto}"

    def _estimate(self, model: str, candidates: Any, steps: Any, guidance: Any) -> str:
        models = self.studio.models
        values = {"prompt": next(iter(PRESETS.values())), "verifier": models.guides(model)[0]}
        values |= {"model": model, "candidates": candidates, "steps": steps, "guidance_scale": guidance}
        try:
            return self._estimate_text(checked_job(models, self.studio.limits, **values))
        except ValueError as error:
            return f"<p>{escape(str(error))}</p>"

    def _estimate_text(self, job: SearchJob) -> str:
        cost = self.costs.of(job)
        if cost.nfe is None:
            return "<p>NFEs and seconds are known after the first run.</p>"
        text = f"{job.candidates} × {cost.candidate} = {cost.nfe:,} NFEs"
        if cost.seconds is None:
            return f"<p>{text}; seconds are known after the first run.</p>"
        return f"<p>{text}; about {seconds_text(cost.seconds)} here.</p>"

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Search, and show what comes."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        asked = dict(zip(self.inputs, values, strict=True))
        job = checked_job(self.studio.models, self.studio.limits, **asked)
        view = SearchView(job)
        yield {**self.controls.busy(), **self._shown(view), self.facts: "", **self.repeat.blank()}
        work = partial(run_search, self.studio, self.costs, job)
        outcome = yield from self.controls.follow(session, work, partial(self._news, view))
        yield self._end(outcome, view, settings(asked))

    def _shown(self, view: SearchView) -> Update:
        return {self.answer: view.answer(), self.gallery: view.gallery(), self.chart: view.chart()}

    def _news(self, view: SearchView, news: Begun | OnTheWay | Batch) -> Update:
        if isinstance(news, Begun):
            view.begin(news)
            return {self.status: notice("The first candidates are being drawn ...", "busy"), **self._shown(view)}
        if isinstance(news, OnTheWay):
            view.draw(news)
            return {self.answer: view.answer()}
        view.take(news)
        return {self.status: view.progress(), **self._shown(view)}

    def _end(self, outcome: Outcome | None, view: SearchView, asked: str) -> Update:
        if outcome is None:
            return {self.status: notice("Cancelled before a candidate had come."), **self.controls.idle()}
        view.end(outcome)
        job = outcome.job
        whole = outcome.stopped and not costs_alike(job.strategy)
        note = "# cancelled on the way; this makes the whole search\n" if whole else ""
        code, names = job.python(self.studio.models.in_hand), [job.model or IN_HAND, *job.verifiers, job.judge]
        return {
            self.status: notice(summary(outcome, view), "wrong" if outcome.result.failed else "calm"),
            **self._shown(view),
            self.answer: final_answer(outcome, view),
            self.facts: facts(outcome, asked),
            **self.repeat.of(code, job.command, names, note),
            self.estimate: self._estimate_text(view.job),
            **self.controls.idle(),
        }
