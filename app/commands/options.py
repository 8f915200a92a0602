"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from math import isfinite
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any, Literal, get_type_hints

import typer
from rich.console import Console
from typer.core import TyperCommand

from ...foreign_errors import in_one_sentence
from ...named_settings import parse_settings

# What is printed is text, never rich's markup: prompts may hold [brackets] and :colons:.
console = Console(markup=False, emoji=False)
errors = Console(stderr=True, markup=False, emoji=False)

RESUMES = ("search", "steer", "calibrate", "collect", "reflect", "distill")
"""Commands that go on from what lies in their --output."""

Prompts = Annotated[
    Path | None,
    typer.Option(help='a UTF-8 text file with one prompt per line; lines that begin with "# " are comments'),
]
Model = Annotated[str, typer.Option(help="a shipped model, a folder, a .safetensors file or a hub id")]
Seed = Annotated[int, typer.Option(help="seed of the first candidate")]
Steps = Annotated[int | None, typer.Option(help="inference steps; the model's default when left out")]
StepsOrAuto = Annotated[
    str | None,
    typer.Option(help="inference steps; the model's default when left out; auto: as --budget is spent best"),
]
Guidance = Annotated[float | None, typer.Option(help="guidance scale; the model's default when left out")]
Negative = Annotated[str | None, typer.Option(help="what the image should not show")]
Height = Annotated[int | None, typer.Option(help="pixels; the model's default when left out")]
Width = Annotated[int | None, typer.Option(help="pixels; the model's default when left out")]
Dtype = Annotated[str, typer.Option(help="float32, float16 or bfloat16")]
Device = Annotated[str | None, typer.Option(help="such as cuda; a GPU is used where there is one")]
Offload = Annotated[bool, typer.Option(help="keep the parts on the CPU and move each to the GPU when it is used")]
Json = Annotated[bool, typer.Option("--json", help="print JSON for a script instead of a table")]


Scheduler = Annotated[
    str | None,
    typer.Option(
        help="in place of the model's own: flow-sde:diffusion=square,norm=3, stochastic, time-shift, ddim, euler, or a "
        "class"
    ),
]
Hooks = Annotated[
    list[str] | None, typer.Option("--hook", help="put on the model's networks by name: row-times, with time-shift")
]
Arguments = Annotated[
    list[str] | None, typer.Option("--argument", help="of the pipeline's call, as max_sequence_length=128; or several")
]

PromptTexts = Annotated[list[str] | None, typer.Argument(help="what to draw, one text or several; or --prompts")]
BatchSize = Annotated[int, typer.Option(help="candidates in one call of the pipeline")]
Records = Annotated[Path | None, typer.Option(help="folder for records and images; a rerun goes on from there")]


@dataclass(frozen=True)
class CallOptions:
    """Options of a pipeline's call; a command's parameter of this type is all of them (`grouped`)."""

    guidance_scale: Guidance = None
    negative_prompt: Negative = None
    height: Height = None
    width: Width = None
    argument: Arguments = None

    @property
    def given(self) -> dict[str, Any]:
        """The arguments of the pipeline's call that were given.

        Raises:
            ValueError: for a text of `--argument` of another form, and for an argument that is given twice.
        """
        own = {name: value for name, value in vars(self).items() if name != "argument"}
        return given_arguments(self.argument, **own)

    @property
    def numbers(self) -> dict[str, Any]:
        """Those that `check_numbers` looks at."""
        return {"guidance_scale": self.guidance_scale, "height": self.height, "width": self.width}


@dataclass(frozen=True)
class Place:
    """Options that say where a pipeline runs, as jobs and `load_on_device` take them."""

    dtype: Dtype = "float32"
    device: Device = None
    offload: Offload = False


CALL, PLACE = CallOptions(), Place()
"""As they are where no option is given."""


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose options are its parameters, with the fields of a group in the place of the group.

    Args:
        command: has parameters annotated with dataclasses of options, such as `CallOptions`.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for one in inspect.signature(command).parameters.values():
        kind = hints[one.name]
        if not is_dataclass(kind):
            parameters.append(one.replace(annotation=kind))
            continue
        groups[one.name] = kind
        own = get_type_hints(kind, include_extras=True)
        parameters += [
            inspect.Parameter(part.name, one.kind, default=part.default, annotation=own[part.name])
            for part in fields(kind)
        ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: kind(**{part.name: given.pop(part.name) for part in fields(kind)}) for name, kind in groups.items()
        }
        command(**made, **given)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # (typer reads it)
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def number_text(value: float | None, form: str) -> str:
    """A number for a table; "none" for one that is not there."""
    return "none" if value is None or not isfinite(value) else format(value, form)


def read_prompts(prompts: Sequence[str] | None, file: Path | None) -> list[str]:
    """The prompts, or those of a file.

    Raises:
        ValueError: where both or neither are given, or where the file holds no prompt.
    """
    if (not prompts) == (file is None):
        raise ValueError("give just one of PROMPT and --prompts FILE")
    if file is None:
        return list(prompts or ())
    if not file.is_file():
        raise ValueError(f"no file {file}; --prompts names a text file with one prompt per line")
    if not (found := prompts_in(file)):
        raise ValueError(f"{file} holds no prompt; write one per line")
    return found


def prompts_in(file: Path) -> list[str]:
    """Prompts of a UTF-8 text file, one per line; "# " begins a comment, but "#1 dad mug" is a prompt.

    Raises:
        ValueError: where the file cannot be read, or is not in UTF-8.
    """
    with in_one_sentence(f"{file} cannot be read"):
        data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")  # editors of Windows begin a file with a mark
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not in UTF-8; save it in this encoding") from None
    if "\0" in text:
        raise ValueError(f"{file} is no text in UTF-8; save it in this encoding")
    lines = (line.strip() for line in re.split(r"\r\n|\n|\r", text))
    return [line for line in lines if line and line != "#" and not line.startswith("# ")]


def read_steps(text: str | None) -> int | Literal["auto"] | None:
    """A number of steps, or "auto"."""
    if text is None:
        return None
    if text == "auto":
        return "auto"
    if not text.isdecimal():
        raise ValueError(f"--steps is {text!r}; give a whole number of at least 1, or auto")
    return int(text)


def given_arguments(texts: Sequence[str] | None, option: str = "--argument", /, **own: Any) -> dict[str, Any]:
    """Arguments of the pipeline's call: those with an option of their own, and those of `--argument`.

    Args:
        texts: each `name=value`, or several with commas between them.
        option: that holds the texts.
        own: None where an option was left out.

    Raises:
        ValueError: for a text of another form, and for an argument that is given twice.
    """
    found = {name: value for name, value in own.items() if value is not None}
    for text in texts or ():
        for name, value in parse_settings(text, option).items():
            if name in found:
                raise ValueError(f"the {option.lstrip('-')} {name} is given twice")
            found[name] = value
    return found


def make_folder(folder: Path, option: str = "output") -> Path:
    """Make a folder for results, before they are paid for; returns it.

    Raises:
        ValueError: where nothing can be written there.
    """
    with in_one_sentence(f"cannot write to the folder {folder} (--{option}), name another"):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    return folder


class Interruptible(TyperCommand):
    """A command that says at Ctrl-C what is kept and how to go on; exit code 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            kept = _kept(ctx.info_name, ctx.params.get("output"))
            errors.print(f"samplesmith: stopped; {kept}", style="red", highlight=False, soft_wrap=True)
            raise typer.Exit(130) from None


def _kept(command: str | None, output: Path | None) -> str:
    if command not in RESUMES:
        return "nothing is kept"
    if output is None:
        return "nothing is kept; with --output FOLDER candidates are, and the same command goes on from there"
    return f"what is recorded in {output} is kept, and the same command goes on from there"
