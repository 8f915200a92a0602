"""The tab that steers: the path as it grows, what each step tried, and the image beside best-of-N's."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from ....pipelines.search.steer_job import SteerJob
from ..controls import LIGHT, RUN, RunControls, Update
from ..library import import_library
from ..models import IN_HAND
from ..pictures import grid, notice, progress
from ..studio import Studio
from .request import TRANSITIONS, checked_job
from .run import Nodes, Outcome, RivalSpent, run_steering
from .view import SteeringView, outcome_panel, reward_chart, summary

TITLE = "Steering"
NO_JUDGE = "none"
PRESETS = {
    "Rollover": ("rbf:warm_up=4", "five apples on green"),
    "Threshold": ("threshold", "two dogs above a boat on blue"),
    "FK steering": ("smc:tilt=100", "two cats and three stars on blue"),
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
        model = models.model
        strategy, prompt = next(iter(PRESETS.values()))
        gr.HTML(f'<p class="about">{ABOUT}</p>')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                self.prompt = gr.Textbox(prompt, label="Prompt to steer", lines=2, max_lines=4, elem_id="steer-prompt")
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
                with gr.Accordion("Model, verifier and judge", open=False):
                    self.model = gr.Dropdown(models.pipelines, value=model, label="Model")
                    self.verifier = gr.Dropdown(
                        models.guides(model), value=models.guides(model)[0], label="Verifier: chooses, at each step"
                    )
                    self.judge = gr.Dropdown(
                        [NO_JUDGE, *models.judges(model)],
                        value=models.default_judge(model) or NO_JUDGE,
                        label="Judge: measures, takes no part in the choice",
                    )
                with gr.Accordion("Noise of the steps, guidance and seed", open=False):
                    self.transition = gr.Dropdown(list(TRANSITIONS), value=TRANSITIONS[0], label="Transition")
                    self.guidance = gr.Textbox(label="Guidance scale", max_lines=1, placeholder="the model's own")
                    self.seed = gr.Number(0, label="Seed", precision=0)
                    self.batch_size = gr.Number(BATCH_SIZE, label="Candidates in one call", precision=0)
            with gr.Column(scale=3, min_width=320):
                self.strip = gr.HTML(grid([], STEPS, "the path"), elem_id="steer-path")
                self.chart = gr.HTML(reward_chart([], [], BUDGET), elem_id="steer-chart")
                self.tries = gr.HTML(elem_id="steer-tries")
        with gr.Column(visible=False, elem_id="steer-result") as self.result:
            self.outcome = gr.HTML()
            with gr.Accordion("Repeat this run", open=True):
                shown = {"interactive": False, "wrap_lines": True, "show_line_numbers": False, "lines": 1}
                self.code = gr.Code(language="python", label="Python", elem_id="steer-snippet", **shown)
                self.command = gr.Code(language="shell", label="Command line", elem_id="steer-command", **shown)
        self.inputs = {
            "prompt": self.prompt,
            "model": self.model,
            "verifier": self.verifier,
            "judge": self.judge,
            "strategy": self.strategy,
            "budget": self.budget,
            "steps": self.steps,
            "transition": self.transition,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "guidance_scale": self.guidance,
        }

    def _connect(self) -> None:
        self.controls = RunControls(
            self.studio, TITLE, self.status, self.start, self.cancel, list(self.presets.values())
        )
        shown = [self.strip, self.chart, self.tries, self.result, self.outcome, self.code, self.command]
        run = {"fn": self.run, "inputs": list(self.inputs.values()), "outputs": [*self.controls.outputs, *shown], **RUN}
        gr.on([self.start.click, self.prompt.submit], api_name="steer", **run)
        for name, button in self.presets.items():
            filled = button.click(lambda name=name: self._preset(name), outputs=list(self.inputs.values()), **LIGHT)
            filled.then(api_visibility="private", **run)
        # At arrival too: what needs the library's imports is filled in then, so that the page answers before them.
        gr.on(None, self._follow_model, self.model, [self.verifier, self.judge, self.strategy], **LIGHT)

    def _preset(self, name: str) -> list[Any]:
        models = self.studio.models
        strategy, prompt = PRESETS[name]
        values = {
            "prompt": prompt,
            "model": models.model,
            "verifier": models.guides(models.model)[0],
            "judge": models.default_judge(models.model) or NO_JUDGE,
            "strategy": strategy,
            "budget": BUDGET,
            "steps": STEPS,
            "transition": TRANSITIONS[0],
            "seed": 0,
            "batch_size": BATCH_SIZE,
        }
        return [values.get(field, "") for field in self.inputs]

    def _follow_model(self, model: str) -> list[Any]:
        import_library()
        from ....samplers.strategies import STRATEGIES, Need

        models = self.studio.models
        guides, judges = models.guides(model), models.judges(model)
        return [
            gr.Dropdown(choices=guides, value=guides[0]),
            gr.Dropdown(choices=[NO_JUDGE, *judges], value=models.default_judge(model) or NO_JUDGE),
            gr.Dropdown(choices=[name for name, kind in STRATEGIES.items() if Need.PAUSES in kind.needs]),
        ]

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Steer, draw best-of-N, and show what comes."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        named = dict(zip(self.inputs, values, strict=True))
        named["judge"] = None if named["judge"] == NO_JUDGE else named["judge"]
        job = checked_job(self.studio.models, self.studio.limits, **named)
        view = SteeringView(job)
        yield {
            **self.controls.busy(),
            self.strip: view.strip(),
            self.chart: view.chart(),
            self.tries: view.tries(),
            self.result: gr.Column(visible=False),
        }
        work = partial(run_steering, self.studio, job)
        outcome = yield from self.controls.follow(session, work, partial(self._news, view))
        yield self._end(outcome, view)

    def _news(self, view: SteeringView, news: Nodes | RivalSpent) -> Update:
        if isinstance(news, RivalSpent):
            text = f"best-of-N for the same budget: {news.nfe:,} of {view.budget:,} NFEs"
            return {self.status: progress(text, news.nfe / view.budget)}
        view.take(news)
        return {
            self.status: view.progress(),
            self.strip: view.strip(),
            self.chart: view.chart(),
            self.tries: view.tries(),
        }

    def _end(self, outcome: Outcome | None, view: SteeringView) -> Update:
        if outcome is None:
            return {self.status: notice("Cancelled before a node had come."), **self.controls.idle()}
        view.end(outcome)
        note = "# cancelled on the way; this makes the whole search\n" if outcome.stopped else ""
        return {
            self.status: notice(summary(outcome), "wrong" if outcome.result.failed else "calm"),
            self.strip: view.strip(),
            self.chart: view.chart(),
            self.tries: view.tries(),
            self.result: gr.Column(visible=True),
            self.outcome: outcome_panel(outcome),
            self.code: note + outcome.job.python(self.studio.models.in_hand),
            self.command: note + self._command(outcome.job),
            **self.controls.idle(),
        }

    def _command(self, job: SteerJob) -> str:
        """The job's command line; a comment where the page stands on objects that no command can name."""
        names = {job.model or IN_HAND, *job.verifiers, job.judge}
        if named := [name for name in self.studio.models.in_hand if name in names]:
            return f"# {' and '.join(named)}: an object in your program, which no command line can name\n"
        return f"{job.command()}\n"
