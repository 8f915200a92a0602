"""A distillation as a value: which student of which teacher, and which stage of it.

`samplesmith distill` reads its options into one.

    OUTPUT/partition.json        which student serves what
    OUTPUT/examples.pt           the teacher's samples, with their noises
    OUTPUT/student-K/STAGE/      a run of its own: checkpoint, log, the student that it left
    OUTPUT/pipeline/             the MultiStudentPipeline, once every student has ended a stage

Students train in processes or on machines of their own: partition and examples follow from the seed, so each process
that starts in an empty folder makes the same ones.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ...pipelines.loading import load
from ...pipelines.multi_student import MultiStudentPipeline, denoiser_of, pooled_texts
from ...pipelines.partition import Partition, partition_classes, partition_texts
from ...pipelines.processes import started
from ...valid_json import to_json
from ..distill import distil
from ..randomness import initial_weights
from .examples import Examples
from .shortened import shortened, spread_blocks
from .stages import STAGES, Plan
from .student_scheduler import redraws, student_scheduler, student_times
from .teacher import ENCODED_AT_ONCE, encode, sample_teacher, teacher_of, teacher_times


@dataclass(frozen=True)
class DistillJob:
    """What is distilled, and how.

    Attributes:
        teacher: a shipped model, a folder or a hub id.
        output: folder of all students.
        stage: one of `STAGES`.
        subset: the student, from 0.
        students: K.
        prompts: that a text teacher's students train on; None for a class teacher, whose labels are all taken.
        steps: of the student.
        blocks: of the student; None: the teacher's form.
        student_config: entries of the student's config that differ from the teacher's; its weights are new then.
        guidance_scale: of the teacher.
        examples: of the teacher, per class, or per prompt.
        teacher_steps: of their making.
        updates, batch_size, seed: of the stage's run.
        plan: further settings of `Plan`.
        arguments: of the teacher's call.
        settings: of `distil`, such as `bf16`, `cpu`, `average`, `compiled`.

    Raises:
        ValueError: by `check`.
    """

    teacher: str
    output: Path
    stage: str = "dm"
    subset: int = 0
    students: int = 1
    prompts: Sequence[str] | None = None
    steps: int = 1
    blocks: int | None = None
    student_config: Mapping[str, Any] | None = None
    guidance_scale: float = 1.0
    examples: int = 64
    teacher_steps: int = 50
    updates: int = 1000
    batch_size: int = 64
    seed: int = 0
    plan: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Say what can be said before anything is loaded.

        Raises:
            ValueError: in one sentence.
        """
        if self.stage not in STAGES:
            raise ValueError(f"unknown stage {self.stage!r}; known: {', '.join(STAGES)}")
        if not 0 <= self.subset < self.students:
            raise ValueError(f"--subset is {self.subset}; give one of the {self.students} students, from 0")
        if self.blocks is not None and self.student_config is not None:
            raise ValueError("give just one of --blocks and --student-config")
        for name in ("steps", "examples", "teacher_steps", "updates", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name.replace('_', '-')} is {getattr(self, name)}; give at least 1")

    def run(self, pipe: Any = None) -> Any:
        """Run the stage, or go on with it; returns the student.

        Args:
            pipe: the teacher's pipeline, where it is at hand.

        Raises:
            ValueError: where the stage cannot be run, in one sentence.
        """
        self.check()
        pipe = load(self.teacher) if pipe is None else pipe
        pipe.set_progress_bar_config(disable=True)
        self.output.mkdir(parents=True, exist_ok=True)
        name, values, texts = self._conditions(pipe)
        part = self.partition(pipe, values, texts)
        data = self._examples(pipe, name, values)
        rows = [row for row in range(len(data)) if part.students[row % len(values)] == self.subset]
        teacher = teacher_of(pipe)
        scheduler = student_scheduler(pipe.scheduler)
        plan = Plan(
            student_times(scheduler, self.steps),
            guidance_scale=self.guidance_scale,
            redraw=redraws(scheduler),
            **self.plan,
        )
        student = distil(
            self.folder(self.stage),
            self.stage,
            self._begin(teacher.network),
            teacher,
            data.subset(rows),
            plan,
            self.updates,
            self.batch_size,
            self.seed,
            self._fake(teacher.network),
            about={"teacher": self.teacher, "student": self.subset, "students": self.students},
            **self.settings,
        )
        if not started().rank:
            self.assemble(pipe, part)
        return student

    def folder(self, stage: str, student: int | None = None) -> Path:
        """Of a stage's run."""
        return self.output / f"student-{self.subset if student is None else student}" / stage

    def partition(self, pipe: Any, values: Sequence[Any], texts: Sequence[str]) -> Partition:
        """Which student trains on what; written to partition.json, beside the report."""
        generator = torch.Generator().manual_seed(self.seed)
        if self.prompts is None:
            embeddings = class_embeddings(pipe)[list(values)]
            part = partition_classes(list(values), embeddings, self.students, texts, generator)
        else:
            chunks = [values[start : start + ENCODED_AT_ONCE] for start in range(0, len(values), ENCODED_AT_ONCE)]
            pooled = torch.cat([pooled_texts(pipe, chunk, self.arguments) for chunk in chunks])
            part = partition_texts(pooled, self.students, texts, generator)
        (self.output / "partition.json").write_text(to_json(part.to_json(), indent=2) + "\n")
        (self.output / "partition.txt").write_text(part.report() + "\n")
        return part

    def assemble(self, pipe: Any, part: Partition) -> MultiStudentPipeline | None:
        """The pipeline of all students, each of its last stage, written to its folder; None while one is missing."""
        left = [self._last(student) for student in range(self.students)]
        if None in left:
            return None
        network = type(getattr(pipe, denoiser_of(pipe)))
        networks = [network.from_pretrained(folder, dtype=torch.float32) for folder in left if folder is not None]
        parts = {**pipe.components, denoiser_of(pipe): networks[0], "scheduler": student_scheduler(pipe.scheduler)}
        kept = {key: value for key, value in pipe.config.items() if not key.startswith("_") and key not in parts}
        own = type(pipe)(**parts, **kept)
        call = {**self.arguments, "num_inference_steps": self.steps, "guidance_scale": 1.0}
        students = MultiStudentPipeline(own, networks, part.router, call)
        students.save_pretrained(self.output / "pipeline")
        return students

    def _conditions(self, pipe: Any) -> tuple[str, list[Any], list[str]]:
        """The argument of the teacher's call, its values, and their names."""
        if self.prompts is not None:
            return "prompt", list(self.prompts), list(self.prompts)
        known = getattr(pipe, "known_labels", None)
        if known is None:
            raise ValueError(f"{type(pipe).__name__} takes texts; give --prompts FILE with what its students learn")
        labels = [label for label in known if label != pipe.null_class]
        names = {number: text for text, number in pipe.labels.items()}
        return "class_labels", labels, [names.get(label, str(label)) for label in labels]

    def _examples(self, pipe: Any, name: str, values: Sequence[Any]) -> Examples:
        """The teacher's samples: round by round through the conditions."""
        condition, null, shape = encode(pipe, name, values, self.arguments, self.guidance_scale)
        repeated = {key: torch.cat([value] * self.examples) for key, value in condition.items()}
        times = teacher_times(pipe.scheduler, self.teacher_steps)
        cache = self.output / "examples.pt"
        return sample_teacher(teacher_of(pipe), repeated, null, shape, times, self.guidance_scale, self.seed, cache)

    def _begin(self, teacher: Any) -> Any:
        """The student with the weights of the last stage before, else with its first ones."""
        if before := self._last(self.subset, STAGES[: STAGES.index(self.stage)]):
            return type(teacher).from_pretrained(before, dtype=torch.float32)
        if self.student_config is not None:
            with initial_weights(self.seed):
                return type(teacher).from_config({**teacher.config, **self.student_config})
        total = len(getattr(teacher, "transformer_blocks", ()))
        if self.blocks is not None and total:
            return shortened(teacher, spread_blocks(total, self.blocks))
        if self.blocks is not None:
            raise ValueError("the teacher has no transformer_blocks to choose from; give --student-config")
        return copy.deepcopy(teacher)

    def _fake(self, teacher: Any) -> Any:
        """The fake score goes on from dm to adm; None: a copy of the teacher."""
        before = self.folder("dm") / "fake"
        if self.stage == "adm" and before.is_dir():
            return type(teacher).from_pretrained(before, dtype=torch.float32)
        return None

    def _last(self, student: int, stages: Sequence[str] = STAGES) -> Path | None:
        """What the last of some stages left of a student."""
        left = [self.folder(stage, student) / "student" for stage in reversed(stages)]
        return next((folder for folder in left if folder.is_dir()), None)


def class_embeddings(pipe: Any) -> torch.Tensor:
    """A vector for each class label: the first table in the denoiser that has a row for each."""
    network = getattr(pipe, denoiser_of(pipe))
    rows = max(pipe.known_labels) + 1
    for module in network.modules():
        if isinstance(module, torch.nn.Embedding) and module.num_embeddings >= rows:
            return module.weight.detach().float().cpu()
    raise ValueError(f"{type(network).__name__} has no class embedding of {rows} rows to group its classes by")


def read_config(file: Path) -> dict[str, Any]:
    """Entries of a student's config.

    Raises:
        ValueError: where the file is no JSON object.
    """
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{file} cannot be read as the student's config ({error}); give a JSON object") from error
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds no JSON object; give entries of the student's config, such as its num_layers")
    return found
