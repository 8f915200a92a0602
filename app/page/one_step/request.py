"""What a visitor may ask of a student and its teacher: checked before anything is loaded or written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from ....pipelines.job_program import pipeline_lines
from ....pipelines.search.job import SearchJob
from ....pipelines.shipped import call_arguments
from ..library import import_library
from ..limits import Limits, one_of, whole
from ..models import Models
from ..search.request import search_fields

FEW = (1, 2)
"""Steps of a student that are tried beside its own number."""
MOST_IMAGES, MOST_NUMBERS, MOST_STEPS = 8, 4, 32
"""Noises, numbers of steps, and steps of a student."""


@dataclass(frozen=True)
class Setting:
    """A model in so many steps.

    Attributes:
        model: its name.
        arguments: of the pipeline's call.
        is_student: whether it is the student, or the teacher.
    """

    model: str
    arguments: dict[str, Any]
    is_student: bool

    @property
    def title(self) -> str:
        return "Student" if self.is_student else "Teacher"

    @property
    def says(self) -> str:
        """What it is, in a few words."""
        return f"{self.model}, {self.steps}{' with guidance' if self.arguments.get('guidance_scale', 1) > 1 else ''}"

    @property
    def steps(self) -> str:
        """How many, such as "2 steps"."""
        steps = self.arguments.get("num_inference_steps")
        return "its own steps" if steps is None else f"{steps} step{'s' if steps > 1 else ''}"

    @property
    def name(self) -> str:
        """For files."""
        return f"student_{self.arguments['num_inference_steps']}" if self.is_student else "teacher"


@dataclass(frozen=True)
class OneStepRequest:
    """A prompt for both models.

    Attributes:
        job: best-of-N by the student in the most of its steps, N still to be found. It has no judge: its seconds are to
            be those of the choice.
        teacher: name of the model that the student learned from.
        steps: numbers of the student's steps, the least first.
        images: how many noises; image k has that of the job's seed + k.
        judge: name of the verifier that measures; None for none.
    """

    job: SearchJob
    teacher: str
    steps: tuple[int, ...]
    images: int
    judge: str | None

    @classmethod
    def of(cls, models: Models, limits: Limits, **asked: Any) -> OneStepRequest:
        """The request of values as a browser or a program sent them; its words are for `check`.

        Args:
            models: of the page.
            limits: of one visitor's request.
            asked: prompt, model (the student), verifier, judge, steps (a text of numbers; empty for `FEW` and the
                student's own), images and seed.

        Raises:
            ValueError: for anything that is not offered or out of range, in one sentence.
        """
        student = asked["model"]
        one_of("student", student, models.students)
        steps = _numbers(asked.pop("steps"), models.default_steps(student))
        images = whole("number of images", asked.pop("images"), 1, MOST_IMAGES)
        fields = search_fields(models, limits, batch_size=images, **asked)
        job = SearchJob(**{**fields, "judge": None}, candidates=1, steps=steps[-1])
        return cls(job, str(models.teacher(student)), steps, images, fields["judge"])

    def check(self) -> OneStepRequest:
        """The same request, once its words are known to be those of the models.

        Raises:
            ValueError: in one sentence.
        """
        import_library()
        replace(self.job, judge=self.judge).check()
        return self

    @property
    def student(self) -> str:
        return self.job.named_model

    @property
    def prompt(self) -> str:
        return self.job.prompts[0]

    @property
    def seeds(self) -> range:
        return range(self.job.seed, self.job.seed + self.images)

    @property
    def settings(self) -> list[Setting]:
        """The teacher as it is meant to be called, and the student in each number of steps."""
        teacher = Setting(self.teacher, call_arguments(self.teacher, {}), is_student=False)
        calls = [replace(self.job, steps=number).call_arguments for number in self.steps]
        return [teacher, *(Setting(self.student, arguments, is_student=True) for arguments in calls)]

    def best_of(self, count: int) -> SearchJob:
        """The student's search of so many candidates."""
        return replace(self.job, candidates=count)

    def command(self, count: int) -> str:
        """A command line for each row, and that of best-of-N."""
        words = ["samplesmith", "sample", self.prompt, "--num-images", str(self.images), "--seed", str(self.job.seed)]
        lines = []
        for one in self.settings:
            steps = ["--steps", str(one.arguments["num_inference_steps"])] if one.is_student else []
            lines.append(shlex.join([*words, "--model", one.model, *steps, "--output", f"outputs/{one.name}"]))
        return "\n".join([*lines, self.best_of(count).command()]) + "\n"

    def python(self, count: int, in_hand: Collection[str] = ()) -> str:
        """A program that makes them all.

        Args:
            count: candidates of best-of-N.
            in_hand: names of verifiers that are objects in the reader's program.
        """
        imports, search = self.best_of(count).python(in_hand).split("\n\n", 1)
        loads = {
            name: "\n".join(pipeline_lines(replace(self.job, model=name))) for name in (self.teacher, self.student)
        }
        teacher, *students = [f"draw(pipe, {one.name!r}, {one.arguments!r})" for one in self.settings]
        return "\n".join(
            [
                imports.replace("import samplesmith\n", "import samplesmith\nimport torch\n", 1),
                "\n",
                "def draw(pipe, name, arguments):",
                f"    noises = [torch.Generator().manual_seed(seed) for seed in {self.seeds!r}]",
                f"    images = pipe([{self.prompt!r}] * {self.images}, generator=noises, **arguments).images",
                "    for number, image in enumerate(images):",
                '        image.save(f"{name}_{number}.png")',
                "\n",
                loads[self.teacher],
                teacher,
                loads[self.student],
                *students,
                search.removeprefix(f"{loads[self.student]}\n"),
            ]
        )


def _numbers(written: Any, own: int | None) -> tuple[int, ...]:
    """The numbers of steps in a text, the least first.

    Args:
        written: a text; empty, or none, for `FEW` and the student's own.
        own: None where that is not known.

    Raises:
        ValueError: for what is no list of a few whole numbers.
    """
    words = re.split(r"[,\s]+", str("" if written is None else written).strip(" ,"))
    if words == [""]:
        return tuple(sorted({*FEW, *([] if own is None else [own])}))
    if not all(re.fullmatch(r"[0-9]{1,9}", word) for word in words):
        raise ValueError(f"the student's steps are {str(written)[:40]!r}; give whole numbers, such as 1, 2, 4")
    found = sorted({whole("number of steps", int(word), 1, MOST_STEPS) for word in words})
    if len(found) > MOST_NUMBERS:
        raise ValueError(f"there are {len(found)} numbers of steps; give at most {MOST_NUMBERS}")
    return tuple(found)
