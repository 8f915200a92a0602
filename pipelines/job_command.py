"""The command line of a job."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ..named_settings import write_settings

if TYPE_CHECKING:
    from .job import Job

OF_CALL = {"guidance_scale": float, "negative_prompt": str, "height": int, "width": int}
"""Arguments of a pipeline's call that have options of their own, and what these read; others go by `--argument`."""

_ONE_EACH = {"verifiers": "verifier", "hooks": "hook"}
"""Fields with one option for each member."""

_SETTINGS = {"settings": "setting"}
"""Maps that one option holds whole."""


def command_of(job: Job) -> str:
    """`samplesmith search ...` or another command, which is read as the same job; what has no value is left out."""
    options: list[str] = []
    for one in fields(job):
        value = getattr(job, one.name)
        if one.name == "prompts" or value is None or (one.name == "dtype" and value == one.default):
            continue
        if one.name == "arguments":
            options += _of_call(value)
        elif one.name in _SETTINGS:
            options += [f"--{_SETTINGS[one.name]}", write_settings(value)] if value else []
        elif one.name in _ONE_EACH:
            options += [word for member in value for word in (f"--{_ONE_EACH[one.name]}", member)]
        elif isinstance(value, bool):
            options += [_flag(one.name)] * value
        else:
            options += [_flag(one.name), str(value)]
    prompts = list(job.prompts)
    if any(prompt.startswith("-") for prompt in prompts):  # else they would be read as options
        return shlex.join(["samplesmith", job.command_name, *options, "--", *prompts])
    return shlex.join(["samplesmith", job.command_name, *prompts, *options])


def _of_call(arguments: Mapping[str, Any]) -> list[str]:
    own = {name: value for name, value in arguments.items() if _has_option(name, value)}
    others = {name: value for name, value in arguments.items() if name not in own}
    words = [word for name, value in own.items() for word in (_flag(name), str(value))]
    return words + (["--argument", write_settings(others)] if others else [])


def _has_option(name: str, value: Any) -> bool:
    kind = OF_CALL.get(name)
    return kind is not None and (type(value) is kind or (kind is float and type(value) is int))


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
