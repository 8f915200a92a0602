"""The tab that superposes prompts: AND, OR, NOT and formulas, beside the mean and a joint prompt of the same noises."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import gradio as gr

from ....pipelines.superposition.job import STEPS, SuperposeJob
from ..controls import LIGHT, RUN, RunControls, Update
from ..models import IN_HAND
from ..pictures import notice, progress
from ..studio import Studio
from .request import MOST_IMAGES, OPERATORS, checked_job
from .run import StepDone, Superposed, run_superposition
from .view import density_chart, kappa_chart, links, pictures, places, summary

TITLE = "Superpose"
NO_JUDGE = "none"
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
        models, model = self.studio.models, self.studio.models.model
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
                with gr.Accordion("Model and judge", open=False):
                    self.model = gr.Dropdown(models.pipelines, value=model, label="Model")
                    self.judge = gr.Dropdown(
                        [NO_JUDGE, *models.judges(model)],
                        value=models.default_judge(model) or NO_JUDGE,
                        label="Judge: says of each image what holds",
                    )
                with gr.Accordion("Steps, temperature and seed", open=False):
                    self.steps = gr.Textbox(label="Steps", max_lines=1, placeholder=str(STEPS))
                    self.temperature = gr.Textbox(
                        label="Temperature of OR and formulas: below 1 they decide later", max_lines=1, placeholder="1"
                    )
                    self.guidance = gr.Textbox(label="Guidance scale", max_lines=1, placeholder="the model's own")
                    self.seed = gr.Number(0, label="Seed", precision=0)
            with gr.Column(scale=3, min_width=320):
                self.pictures = gr.HTML(places(None, IMAGES), elem_id="superposed")
                self.kappa = gr.HTML(kappa_chart(None), elem_id="kappa")
                self.densities = gr.HTML(density_chart(None))
        with gr.Column(visible=False) as self.result:
            self.files = gr.HTML()
            with gr.Accordion("Repeat this run", open=True):
                shown = {"interactive": False, "wrap_lines": True, "show_line_numbers": False, "lines": 1}
                self.code = gr.Code(language="python", label="Python", elem_id="superpose-snippet", **shown)
                self.command = gr.Code(language="shell", label="Command line", elem_id="superpose-command", **shown)
        self.inputs = {
            "what": self.what,
            "operator": self.operator,
            "model": self.model,
            "judge": self.judge,
            "images": self.images,
            "steps": self.steps,
            "temperature": self.temperature,
            "guidance_scale": self.guidance,
            "seed": self.seed,
        }

    def _connect(self) -> None:
        self.controls = RunControls(
            self.studio, TITLE, self.status, self.start, self.cancel, list(self.presets.values())
        )
        shown = [self.pictures, self.kappa, self.densities, self.result, self.files, self.code, self.command]
        run = {"fn": self.run, "inputs": list(self.inputs.values()), "outputs": [*self.controls.outputs, *shown], **RUN}
        self.start.click(api_name="superpose", **run)
        for name, button in self.presets.items():
            filled = button.click(lambda name=name: self._preset(name), outputs=list(self.inputs.values()), **LIGHT)
            filled.then(api_visibility="private", **run)
        gr.on(None, self._follow_model, self.model, self.judge, **LIGHT)

    def _preset(self, name: str) -> list[Any]:
        models = self.studio.models
        what, operator = PRESETS[name]
        values = {
            "what": what,
            "operator": operator,
            "model": models.model,
            "judge": models.default_judge(models.model) or NO_JUDGE,
            "images": IMAGES,
            "seed": 0,
        }
        return [values.get(field, "") for field in self.inputs]

    def _follow_model(self, model: str) -> Any:
        models = self.studio.models
        return gr.Dropdown(choices=[NO_JUDGE, *models.judges(model)], value=models.default_judge(model) or NO_JUDGE)

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Superpose, and show what came of it."""
        yield from self.controls.guarded(self._run(request.session_hash, *values))

    def _run(self, session: str | None, *values: Any) -> Iterator[Update]:
        named = dict(zip(self.inputs, values, strict=True))
        named["judge"] = None if named["judge"] == NO_JUDGE else named["judge"]
        job = checked_job(self.studio.models, self.studio.limits, **named)
        yield {
            **self.controls.busy(),
            self.pictures: places(job, job.num_images),
            self.kappa: kappa_chart(None),
            self.densities: density_chart(None),
            self.result: gr.Column(visible=False),
        }
        work = partial(run_superposition, self.studio, job)
        done = yield from self.controls.follow(session, work, self._news)
        yield self._end(done)

    def _news(self, news: StepDone) -> Update:
        return {self.status: progress(f"step {news.step} of {news.steps}", news.step / news.steps)}

    def _end(self, done: Superposed) -> Update:
        return {
            self.status: notice(summary(done)),
            self.pictures: pictures(done),
            self.kappa: kappa_chart(done.outcome),
            self.densities: density_chart(done.outcome),
            self.result: gr.Column(visible=True),
            self.files: links(done),
            self.code: done.job.python(self.studio.models.in_hand),
            self.command: self._command(done.job),
            **self.controls.idle(),
        }

    def _command(self, job: SuperposeJob) -> str:
        """The job's command line; a comment where the page stands on objects that no command can name."""
        names = {job.model or IN_HAND, job.judge}
        if named := [name for name in self.studio.models.in_hand if name in names]:
            return f"# {' and '.join(named)}: an object in your program, which no command line can name\n"
        return f"{job.command()}\n"
