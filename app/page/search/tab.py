"""The tab that searches: candidates come in batch by batch, the best is marked, and the run can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from html import escape
from typing import Any

import gradio as gr

from ....pipelines.search.job import AUTO, SearchJob
from ..controls import LIGHT, RUN, RunControls, Update
from ..library import import_library
from ..models import IN_HAND
from ..pictures import grid, notice
from ..studio import Studio
from .cost import CostEstimate
from .request import checked_job
from .run import Batch, Begun, Outcome, costs_alike, run_search
from .view import SearchView, outcome_panel, score_chart, seconds_text, summary

TITLE = "Search"
NO_JUDGE = "none"
DEFAULT = "the model's own"
PRESETS = {
    "Easy": "a star on blue",
    "Hard count": "five apples on green",
    "Hard relation": "two dogs above a boat on blue",
}
"""Prompts that each begin a run at one click."""
STRATEGY, CANDIDATES, BATCH_SIZE = "random", 8, 2


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
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.prompt = gr.Textbox(PRESETS["Easy"], label="Prompt", lines=2, max_lines=4, elem_id="prompt")
                with gr.Row(elem_classes="presets"):
                    self.presets = {
                        name: gr.Button(f"{name}: {text}", size="sm", elem_id=f"preset-{name.split()[-1].lower()}")
                        for name, text in PRESETS.items()
                    }
                self.candidates = gr.Slider(
                    1, limits.candidates, CANDIDATES, step=1, label="Budget, in candidates", elem_id="budget"
                )
                self.estimate = gr.HTML("<p>&nbsp;</p>", elem_classes="estimate")
                with gr.Row():
                    self.start = gr.Button("Search", variant="primary", elem_id="start")
                    self.cancel = gr.Button("Cancel", variant="stop", interactive=False, elem_id="cancel")
                self.status = gr.HTML(notice("Choose an example, or write a prompt and press Search."))
                with gr.Accordion("Model, verifier and judge", open=False):
                    self.model = gr.Dropdown(models.pipelines, value=model, label="Model")
                    self.verifier = gr.Dropdown(
                        models.guides(model), value=models.guides(model)[0], label="Verifier: chooses"
                    )
                    self.judge = gr.Dropdown(
                        [NO_JUDGE, *models.judges(model)],
                        value=models.default_judge(model) or NO_JUDGE,
                        label="Judge: measures, takes no part in the choice",
                    )
                with gr.Accordion("Strategy, steps and seed", open=False):
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
                    self.seed = gr.Number(0, label="Seed", precision=0)
                    self.batch_size = gr.Number(BATCH_SIZE, label="Candidates in one call", precision=0)
                    with gr.Row():
                        self.height = gr.Textbox(label="Height", max_lines=1, placeholder=DEFAULT, min_width=80)
                        self.width = gr.Textbox(label="Width", max_lines=1, placeholder=DEFAULT, min_width=80)
            with gr.Column(scale=3, min_width=320):
                self.gallery = gr.HTML(grid([], CANDIDATES, "candidates"), elem_id="gallery")
                self.chart = gr.HTML(score_chart([], None), elem_id="chart")
        with gr.Column(visible=False, elem_id="result") as self.result:
            self.outcome = gr.HTML()
            with gr.Accordion("Repeat this run", open=True):
                shown = {"interactive": False, "wrap_lines": True, "show_line_numbers": False, "lines": 1}
                self.code = gr.Code(language="python", label="Python", elem_id="snippet", **shown)
                self.command = gr.Code(language="shell", label="Command line", elem_id="command", **shown)
        self.inputs = {
            "prompt": self.prompt,
            "model": self.model,
            "verifier": self.verifier,
            "judge": self.judge,
            "strategy": self.strategy,
            "candidates": self.candidates,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "steps": self.steps,
            "guidance_scale": self.guidance,
            "height": self.height,
            "width": self.width,
        }

    def _connect(self) -> None:
        self.controls = RunControls(
            self.studio, TITLE, self.status, self.start, self.cancel, list(self.presets.values())
        )
        shown = [self.gallery, self.chart, self.result, self.outcome, self.code, self.command, self.estimate]
        run = {"fn": self.run, "inputs": list(self.inputs.values()), "outputs": [*self.controls.outputs, *shown], **RUN}
        gr.on([self.start.click, self.prompt.submit], api_name="search", **run)
        for name, button in self.presets.items():
            filled = button.click(lambda name=name: self._preset(name), outputs=list(self.inputs.values()), **LIGHT)
            filled.then(api_visibility="private", **run)
        # At arrival too: what needs the library's imports is filled in then, so that the page answers before them.
        gr.on(None, self._follow_model, self.model, [self.verifier, self.judge, self.steps, self.strategy], **LIGHT)
        priced = [self.model, self.candidates, self.steps, self.guidance]
        gr.on(None, self._estimate, priced, self.estimate, trigger_mode="always_last", preprocess=False, **LIGHT)

    def _preset(self, name: str) -> list[Any]:
        models = self.studio.models
        values = {
            "prompt": PRESETS[name],
            "model": models.model,
            "verifier": models.guides(models.model)[0],
            "judge": models.default_judge(models.model) or NO_JUDGE,
            "strategy": STRATEGY,
            "candidates": CANDIDATES,
            "seed": 0,
            "batch_size": BATCH_SIZE,
        }
        return [values.get(field, "") for field in self.inputs]

    def _follow_model(self, model: str) -> list[Any]:
        import_library()
        from ....samplers.strategies import STRATEGIES

        models = self.studio.models
        guides, judges = models.guides(model), models.judges(model)
        return [
            gr.Dropdown(choices=guides, value=guides[0]),
            gr.Dropdown(choices=[NO_JUDGE, *judges], value=models.default_judge(model) or NO_JUDGE),
            gr.Textbox(label=self._steps_label(model)),
            gr.Dropdown(choices=list(STRATEGIES)),
        ]

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
        named = dict(zip(self.inputs, values, strict=True))
        named["judge"] = None if named["judge"] == NO_JUDGE else named["judge"]
        job = checked_job(self.studio.models, self.studio.limits, **named)
        view = SearchView(job)
        yield {
            **self.controls.busy(),
            self.gallery: view.gallery(),
            self.chart: view.chart(),
            self.result: gr.Column(visible=False),
        }
        work = partial(run_search, self.studio, self.costs, job)
        outcome = yield from self.controls.follow(session, work, partial(self._news, view))
        yield self._end(outcome, view)

    def _news(self, view: SearchView, news: Begun | Batch) -> Update:
        if isinstance(news, Begun):
            view.begin(news)
            return {self.status: notice("The first candidates are being drawn ...", "busy")}
        view.take(news)
        return {self.status: view.progress(), self.gallery: view.gallery(), self.chart: view.chart()}

    def _end(self, outcome: Outcome | None, view: SearchView) -> Update:
        if outcome is None:
            return {self.status: notice("Cancelled before a candidate had come."), **self.controls.idle()}
        view.end(outcome)
        whole = outcome.stopped and not costs_alike(outcome.job.strategy)
        note = "# cancelled on the way; this makes the whole search\n" if whole else ""
        return {
            self.status: notice(summary(outcome), "wrong" if outcome.result.failed else "calm"),
            self.gallery: view.gallery(),
            self.result: gr.Column(visible=True),
            self.outcome: outcome_panel(outcome),
            self.code: note + outcome.job.python(self.studio.models.in_hand),
            self.command: note + self._command(outcome.job),
            self.estimate: self._estimate_text(view.job),
            **self.controls.idle(),
        }

    def _command(self, job: SearchJob) -> str:
        """The job's command line; a comment where the page stands on objects that no command can name."""
        names = {job.model or IN_HAND, *job.verifiers, job.judge}
        if named := [name for name in self.studio.models.in_hand if name in names]:
            return f"# {' and '.join(named)}: an object in your program, which no command line can name\n"
        return f"{job.command()}\n"
