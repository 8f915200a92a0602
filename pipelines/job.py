"""What a user asks for, as a value: the part that the jobs of all methods share.

A method takes objects, its job names them. A job is a frozen dataclass whose fields are the options of a command; it
checks itself, runs, and is written as JSON, as that command, or as a program.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar, Self

from ..named_settings import parse_settings, write_settings
from ..valid_json import to_json
from .numbers import check_numbers
from .shipped import call_arguments, check_model


class Job:
    """A job's forms and checks; a subclass is a frozen dataclass that has the fields below and its own.

    Attributes:
        prompts: what to draw; class labels as texts.
        model: a shipped one, a folder, a .safetensors file or a hub id; None for a pipeline in hand.
        judge: name of a held-out verifier.
        seed: of the first image.
        steps: inference steps.
        arguments: of the pipeline's call, over the model's call defaults: texts, numbers, booleans, None, lists, maps.
        output: folder for what is made.
        dtype, device, offload: where the pipeline runs.
    """

    command_name: ClassVar[str]
    lists: ClassVar[tuple[str, ...]] = ("prompts",)
    """Fields that hold several texts."""
    texts: ClassVar[tuple[str, ...]] = ("dtype",)
    optional_texts: ClassVar[tuple[str, ...]] = ("model", "judge", "device")
    maps: ClassVar[tuple[str, ...]] = ("arguments",)
    paths: ClassVar[tuple[str, ...]] = ("output",)
    required: ClassVar[tuple[str, ...]] = ("prompts",)
    """Fields of which JSON holds at least one."""
    __dataclass_fields__: ClassVar[dict[str, Any]]

    prompts: tuple[str, ...]
    model: str | None
    judge: str | None
    seed: int
    steps: int | str | None
    arguments: Mapping[str, Any]
    output: str | None
    dtype: str
    device: str | None
    offload: bool

    def settle(self) -> None:
        """Bring the fields to the forms that JSON and the command line give back; for `__post_init__`.

        Raises:
            ValueError: for a field of a wrong form, such as an argument that no JSON holds.
        """
        if isinstance(self.prompts, str):
            raise ValueError("prompts is one text; give a list of them")
        self.keep("prompts", [str(one) if isinstance(one, int) else one for one in self.prompts])
        for name in self.lists:
            self.keep(name, tuple(getattr(self, name)))
        for name in self.paths:
            self.keep(name, None if getattr(self, name) is None else str(getattr(self, name)))
        for name in self.maps:
            given = getattr(self, name)
            if not isinstance(given, Mapping):
                raise ValueError(f"{name} is no map; give them by name")
            self.keep(name, dict(sorted(parse_settings(write_settings(given)).items())))  # tuples are lists

    def keep(self, name: str, value: Any) -> None:
        """Set a field while the job is made: the one way for a frozen dataclass."""
        object.__setattr__(self, name, value)

    @property
    def named_model(self) -> str:
        """The model's name.

        Raises:
            ValueError: for a pipeline in hand.
        """
        if self.model is None:
            raise ValueError("this job has no model by name, but a pipeline that is an object in a program")
        return self.model

    @property
    def call_arguments(self) -> dict[str, Any]:
        """Arguments of the pipeline's call: the model's call defaults, and what the job says over them."""
        return {**call_arguments(self.model, {"num_inference_steps": self.steps}), **self.arguments}

    def check_texts(self) -> None:
        """Refuse fields that hold what is no text, and empty prompts.

        Raises:
            ValueError: naming the field.
        """
        for name in self.lists:
            if any(not isinstance(one, str) for one in getattr(self, name)):
                raise ValueError(f"{name} holds what is no text")
        for name in (*self.texts, *self.optional_texts):
            value = getattr(self, name)
            if not (isinstance(value, str) or (value is None and name in self.optional_texts)):
                raise ValueError(f"{name} is {value!r}; give a text")
        if any(not prompt.strip() for prompt in self.prompts):
            raise ValueError("the prompt is empty; say what to draw")

    def check_call(self) -> None:
        """Refuse numbers that no pipeline takes, and a model that cannot be.

        Raises:
            ValueError: naming them.
        """
        check_numbers(seed=self.seed)
        check_numbers(**{name: self.arguments.get(name) for name in ("height", "width", "guidance_scale")})
        if "num_inference_steps" in self.arguments:
            raise ValueError("num_inference_steps is among the arguments; give it as steps")
        if self.model is not None:
            check_model(self.model)

    def to_json(self) -> str:
        """The job as JSON, all fields by name."""
        return to_json(self.as_dict(), indent=2)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as JSON has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The job that `to_json` wrote; what is left out has its default.

        Raises:
            ValueError: for a text that is no job.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ValueError(f"the job is no JSON: {error}") from None
        return cls.from_dict(values)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The job of fields by name, such as `job` in the `run.json` of a search; what is left out has its default.

        Raises:
            ValueError: for what is no job.
        """
        if not isinstance(values, dict) or not set(cls.required) & set(values):
            raise ValueError(f"the job is no JSON object with {' or '.join(cls.required)}")
        known = [one.name for one in fields(cls)]
        if unknown := [name for name in values if name not in known]:
            raise ValueError(f"a job has no {unknown[0]!r}; known: {', '.join(known)}")
        return cls(**values)

    def command(self) -> str:
        """The command line of this job, quoted for a shell.

        Raises:
            ValueError: for a pipeline in hand, which no command line can name.
        """
        from .job_command import command_of

        if self.model is None:
            raise ValueError("the pipeline is an object in a program, which no command line can name")
        return command_of(self)
