"""MultiStudentPipeline: K one-step or few-step students behind a router, each for its share of the conditions.

Song et al., *Multi-student diffusion distillation for better one-step generators* (arXiv 2410.23274): the latency of
one student, K times the capacity. Rows are grouped by student, each group is one call of an ordinary pipeline with the
student as its denoiser, and the rows come back in their order. So whatever that pipeline can do, students can; nothing
of its call is written again here.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, ImagePipelineOutput
from torch import Tensor, nn

from ..samplers import IntervalExperts
from ..valid_json import to_json
from .dry_run import first_model_call
from .loading import DTYPES, load
from .resident_students import ResidentStudents, in_memory, students_in
from .routing import ClassRouter, Router, router_from_json

SETTINGS = "multi_student.json"
CONDITIONS = ("class_labels", "prompt")


class MultiStudentPipeline:
    """Students behind a router.

    Args:
        pipeline: an ordinary pipeline with the scheduler that the students step by; its denoiser is put in its place
            for each group.
        students: the networks, or where they are loaded from.
        router: which student serves what.
        call_defaults: of its call, such as the number of steps.
        boundaries: where each student is several experts by noise level, the times between them, as `IntervalExperts`
            takes them; the networks are then those of student 0 from the least noise on, those of student 1, and so on.

    Raises:
        ValueError: for a router of another number of students, too few networks in memory for a student's experts, or a
            pipeline without one denoiser.
    """

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        students: Sequence[nn.Module] | ResidentStudents,
        router: Router,
        call_defaults: Mapping[str, Any] | None = None,
        boundaries: Sequence[float] = (),
    ):
        if not isinstance(students, ResidentStudents):
            students = ResidentStudents(in_memory(students), len(students))
        self.boundaries, self.experts = list(boundaries), len(boundaries) + 1
        if router.students * self.experts != students.count:
            each = f" of {self.experts} experts each" if boundaries else ""
            raise ValueError(f"the router serves {router.students} students{each}, and there are {students.count}")
        if students.max_resident is not None and students.max_resident < self.experts:
            raise ValueError(
                f"max_resident is {students.max_resident}, and a student is {self.experts} experts; give at least that"
            )
        self.pipeline, self.students, self.router = pipeline, students, router
        self.denoiser = denoiser_of(pipeline)
        self.call_defaults = dict(call_defaults or {})

    @property
    def scheduler(self) -> Any:
        """That the students step by."""
        return self.pipeline.scheduler

    @scheduler.setter
    def scheduler(self, another: Any) -> None:
        self.pipeline.scheduler = another

    def to(self, *arguments: Any, **named: Any) -> MultiStudentPipeline:
        """Move the pipeline; students follow when they are used."""
        self.pipeline.to(*arguments, **named)
        return self

    def student(self, number: int) -> DiffusionPipeline:
        """The ordinary pipeline with one of the students: for search, steering and whatever takes a pipeline.

        It is one pipeline for all: the next call or `student` puts another network in.

        Raises:
            ValueError: for a number that is no student's.
        """
        if not 0 <= number < self.router.students:
            raise ValueError(f"there is no student {number}; there are 0 to {self.router.students - 1}")
        own = range(number * self.experts, (number + 1) * self.experts)
        networks = [self.students.get(one, self._release) for one in own]
        return self._with(own[0], self._joined(networks) if self.boundaries else networks[0])

    def _joined(self, networks: list[nn.Module]) -> nn.Module:
        """The experts of a student as one network: the one that is in place, with its hooks, where it is theirs."""
        current = getattr(self.pipeline, self.denoiser)
        if isinstance(current, IntervalExperts) and list(current.models) == networks:
            return current
        return IntervalExperts(networks, self.boundaries)

    def _with(self, number: int, network: nn.Module) -> DiffusionPipeline:
        """The pipeline with a network as its denoiser, where the network of a number belongs."""
        device = self.students.device_map.get(number, self.pipeline.device)
        self.pipeline.register_modules(**{self.denoiser: network})
        self.pipeline.to(device)
        return self.pipeline

    def route(self, conditions: Sequence[int | str] | Sequence[str]) -> list[int]:
        """The student of each condition: class labels or their names, or prompts.

        Raises:
            ValueError: for a class that no student was made for.
        """
        if isinstance(self.router, ClassRouter):
            names = getattr(self.pipeline, "labels", {})
            for one in conditions:
                if isinstance(one, str) and one not in names:
                    raise ValueError(f"{one!r} is no class of these students; known: {', '.join(names)}")
            return self.router.route([names[one] if isinstance(one, str) else int(one) for one in conditions])
        if getattr(self.pipeline, self.denoiser) is None:  # texts are encoded by the pipeline's own call
            self.student(0)
        return self.router.route(pooled_texts(self.pipeline, list(map(str, conditions)), self.call_defaults))

    @torch.no_grad()
    def __call__(
        self,
        class_labels: Any = None,
        prompt: str | Sequence[str] | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        batch_size: int | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        **arguments: Any,
    ) -> Any:
        """Make one image per condition.

        Args:
            class_labels, prompt: one of them, a value or a list.
            generator: one, from which a generator for each row is seeded, or a list of one per row; so an image does
                not depend on the other rows.
            batch_size: rows of one call at most; None: a student's rows are one call.
            output_type: as the pipeline has it.
            return_dict: whether an `ImagePipelineOutput` or a tuple is returned.
            arguments: of the pipeline's call, over `call_defaults`. Lists and tensors with one entry per row are dealt
                out with the rows.

        Raises:
            ValueError: for bad arguments, in one sentence each.
        """
        name, conditions = self._conditions(class_labels, prompt)
        generators = row_generators(generator, len(conditions))
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give at least 1")
        numbers = self.route(conditions)
        shared = {**self.call_defaults, **arguments}
        pictures: list[Any] = [None] * len(conditions)
        for number, rows in groups(numbers, batch_size):
            own = {key: _picked(value, rows, len(conditions)) for key, value in shared.items()}
            own[name] = [conditions[row] for row in rows]
            if generators is not None:
                own["generator"] = [generators[row] for row in rows]
            made = self.student(number)(**own, output_type=output_type, return_dict=False)[0]
            for row, picture in zip(rows, made, strict=True):
                pictures[row] = picture
        images = _joined(pictures)
        return ImagePipelineOutput(images=images) if return_dict else (images,)

    def _conditions(self, class_labels: Any, prompt: Any) -> tuple[str, list[Any]]:
        if (class_labels is None) == (prompt is None):
            raise ValueError(f"give just one of {' and '.join(CONDITIONS)}")
        by_class = isinstance(self.router, ClassRouter)
        if by_class == (class_labels is None):
            wanted = CONDITIONS[0] if by_class else CONDITIONS[1]
            raise ValueError(f"these students are chosen by {'classes' if by_class else 'texts'}; give {wanted}")
        given = prompt if class_labels is None else class_labels
        if isinstance(given, (Tensor, np.ndarray)):
            given = given.reshape(-1).tolist()
        conditions = [given] if isinstance(given, (int, str)) else list(given)
        if not conditions:
            raise ValueError("the batch is empty; give one condition per image")
        return (CONDITIONS[1] if class_labels is None else CONDITIONS[0]), conditions

    def _release(self) -> None:
        self.pipeline.register_modules(**{self.denoiser: None})

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the pipeline's parts, each network in `students/NUMBER`, and the router."""
        folder = Path(folder)
        for number in range(self.students.count):
            self._with(number, self.students.get(number, self._release)).save_pretrained(folder)
            target = folder / "students" / str(number)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            shutil.move(folder / self.denoiser, target)
        saved = {
            "students": self.students.count,
            "denoiser": self.denoiser,
            "router": self.router.to_json(),
            "call_defaults": self.call_defaults,
            "boundaries": self.boundaries,
        }
        (folder / SETTINGS).write_text(to_json(saved, indent=2) + "\n")

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        dtype: torch.dtype | str = torch.float32,
        max_resident: int | None = None,
        device_map: Mapping[int, str | torch.device] | None = None,
        **components: Any,
    ) -> MultiStudentPipeline:
        """Load what `save_pretrained` wrote; students are loaded when they are first used.

        Args:
            folder: its folder.
            dtype: of all networks, or its name.
            max_resident: students in memory at once; None: all that were used.
            device_map: a device for each student, by number; the pipeline's other parts follow a student.
            components: in place of the folder's own.

        Raises:
            ValueError: for a folder of another kind, or one that lacks a student.
        """
        folder = Path(folder)
        if not (folder / SETTINGS).is_file():
            raise ValueError(f"{folder} has no {SETTINGS}: it is no folder of a multi-student pipeline")
        saved = json.loads((folder / SETTINGS).read_text())
        index = json.loads((folder / "model_index.json").read_text())
        chosen = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
        if chosen is None:
            raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
        loader = students_in(folder, saved["students"], _model(index[saved["denoiser"]]), chosen)
        students = ResidentStudents(loader, saved["students"], max_resident, device_map)
        pipeline = load(folder, chosen, **{saved["denoiser"]: students.get(0), **components})
        return cls(
            pipeline, students, router_from_json(saved["router"]), saved["call_defaults"], saved.get("boundaries", ())
        )


def denoiser_of(pipeline: DiffusionPipeline) -> str:
    """Name of the pipeline's denoiser.

    Raises:
        ValueError: for a pipeline with none, or with several.
    """
    found = [name for name in ("transformer", "unet") if getattr(pipeline, name, None) is not None]
    if len(found) != 1:
        raise ValueError(f"{type(pipeline).__name__} has {len(found)} of a unet and a transformer; one is expected")
    return found[0]


def groups(numbers: Sequence[int], most: int | None = None) -> Iterator[tuple[int, list[int]]]:
    """Each student with its rows in their order, in parts of at most `most`."""
    for number in sorted(set(numbers)):
        rows = [row for row, one in enumerate(numbers) if one == number]
        for start in range(0, len(rows), most or len(rows)):
            yield number, rows[start : start + (most or len(rows))]


def row_generators(generator: Any, rows: int) -> list[torch.Generator] | None:
    """A generator for each row.

    Raises:
        ValueError: for a list of another length.
    """
    if generator is None:
        return None
    if isinstance(generator, torch.Generator):
        seeds = torch.randint(2**31, (rows,), generator=generator, device=generator.device).tolist()
        return [torch.Generator(generator.device).manual_seed(seed) for seed in seeds]
    if len(generator) != rows:
        raise ValueError(f"{rows} conditions but {len(generator)} generators; give one per row, or one for all")
    return list(generator)


def pooled_texts(pipeline: DiffusionPipeline, prompts: Sequence[str], arguments: Mapping[str, Any]) -> Tensor:
    """One vector per prompt, of what the denoiser is told of the text: its pooled embedding, or its tokens' mean.

    Cost: the encoding and the drawing of a noise; no NFE.

    Args:
        pipeline: with a denoiser.
        prompts: at least one.
        arguments: of the pipeline's call; guidance is left out.

    Raises:
        ValueError: where the denoiser is told no text.
    """
    plain = {**arguments, "guidance_scale": 1.0}
    generators = [torch.Generator().manual_seed(0) for _ in prompts]
    call = first_model_call(pipeline, {**plain, "prompt": list(prompts), "generator": generators})
    if call.condition is None:
        raise ValueError(f"the denoiser of {type(pipeline).__name__} is told no text; route by classes instead")
    return call.condition[-len(prompts) :].float().cpu()


def _picked(value: Any, rows: Sequence[int], count: int) -> Any:
    """An argument for some of the rows."""
    if isinstance(value, Tensor) and value.ndim and len(value) == count:
        return value[list(rows)]
    return [value[row] for row in rows] if isinstance(value, list) and len(value) == count else value


def _joined(pictures: list[Any]) -> Any:
    if isinstance(pictures[0], Tensor):
        return torch.stack(pictures)
    return np.stack(pictures) if isinstance(pictures[0], np.ndarray) else pictures


def _model(entry: Sequence[str]) -> Any:
    """The class that a model index names, among diffusers' own."""
    import diffusers

    return getattr(diffusers, entry[1])
