"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import re
from math import isfinite
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from .. import assets
from ..foreign_errors import in_one_sentence

# What is printed is text, never rich's markup: prompts may hold [brackets] and :colons:.
console = Console(markup=False, emoji=False)
errors = Console(stderr=True, markup=False, emoji=False)

RESUMES = ("search", "calibrate")
"""Commands that go on from what lies in their --output."""

LARGEST_SEED = 2**62
"""Generators take 64 bits, and the prompts of a list have seeds of their own above the first."""

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


def number_text(value: float | None, form: str) -> str:
    """A number for a table; "none" for one that is not there."""
    return "none" if value is None or not isfinite(value) else format(value, form)


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    """The prompt, or those of a file.

    Raises:
        ValueError: where both or neither are given, or where the file holds no prompt.
    """
    if (prompt is None) == (file is None):
        raise ValueError("give just one of PROMPT and --prompts FILE")
    if prompt is not None:
        return [prompt]
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


def read_steps(text: str | None) -> int | str | None:
    """A number of steps, or "auto"."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--steps is {text!r}; give a whole number of at least 1, or auto")
    return int(text)


def check_model(model: str) -> None:
    """Refuse a name that can be no model, before anything is loaded.

    Raises:
        ValueError: listing the shipped models.
    """
    if model not in assets.names("pipeline") and not Path(model).exists() and model.count("/") != 1:
        raise ValueError(
            f"unknown model {model!r}: neither shipped ({', '.join(assets.names('pipeline'))}) nor a folder, a "
            ".safetensors file or a hub id such as stabilityai/sdxl-turbo"
        )


def default_guide(model: str) -> str:
    """The verifier that searches a shipped model where none is named.

    Raises:
        ValueError: for any other model: which verifier knows what it draws, only its user can tell.
    """
    if model in assets.names("pipeline"):
        return assets.card(model).get("guide", "emoji-clip")
    check_model(model)
    raise ValueError(
        f"{model} is not a shipped model and brings no guide; name one by --verifier, such as clip:ViT-L-14:openai"
    )


def check_numbers(
    *,
    steps: int | str | None = None,
    height: int | None = None,
    width: int | None = None,
    batch_size: int | None = None,
    seed: int | None = None,
    guidance_scale: float | None = None,
    stop_at: float | None = None,
) -> None:
    """Refuse numbers that no pipeline takes, before anything is loaded.

    Raises:
        ValueError: naming the option.
    """
    for name, value in (("steps", steps), ("height", height), ("width", width), ("batch-size", batch_size)):
        if isinstance(value, int) and value < 1:
            raise ValueError(f"--{name} is {value}; give at least 1")
    if seed is not None and not 0 <= seed <= LARGEST_SEED:
        raise ValueError(f"--seed is {seed}; give at least 0 and at most {LARGEST_SEED}")
    for name, value in (("guidance-scale", guidance_scale), ("stop-at", stop_at)):
        if value is not None and not isfinite(value):
            raise ValueError(f"--{name} is {value}; give a number")


def check_device(device: str | None, offload: bool = False) -> None:
    """Refuse a device that is not there, before anything is loaded.

    Raises:
        ValueError: naming the option.
    """
    import torch

    if offload and not torch.accelerator.is_available():
        raise ValueError("--offload moves parts to a GPU, and there is none here; leave it out")
    if device is None:
        return
    with in_one_sentence(f"--device is {device!r}, which cannot be used here"):
        torch.empty(1, device=device).cpu()
    if offload and torch.device(device).type == "cpu":
        raise ValueError(f"--offload moves parts to a GPU, and --device is {device!r}; leave one of them out")


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


def check_vocabulary(prompts: list[str], model: str | None, verifiers: list[str]) -> None:
    """Name the words that a shipped model has never seen; the judge needs a whole caption."""
    from ..scenes import PromptError

    for name in (model, *verifiers):
        card = assets.card(name) if name in assets.names() else {}
        for prompt in prompts:
            try:
                _check_prompt(prompt, name, card)
            except PromptError as error:
                if name == model:
                    raise
                raise ValueError(f"{name} cannot read the prompt: {error}; or name another verifier") from error


def _check_prompt(prompt: str, name: str | None, card: dict[str, Any]) -> None:
    from ..scenes import UnknownWordError, parse, unknown_words, words_of

    if card.get("vocabulary") == "emoji" and (unknown := unknown_words(prompt)):
        raise UnknownWordError(unknown)
    if words := sorted(set(words_of(prompt)) & set(card.get("lacks", ()))):
        raise ValueError(
            f"{name} was trained before the captions had {', '.join(map(repr, words))}; write a full caption with "
            'number words, such as "two cats on blue"'
        )
    if card.get("loader") == "detector" and prompt.strip():
        parse(prompt)


def load_pipeline(model: str, dtype: str, device: str | None, offload: bool) -> Any:
    """The pipeline of a model as the options ask for it, with what libraries say while loading kept back."""
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from ..pipelines import load

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    check_device(device, offload)
    pipe = load(model, dtype)
    with in_one_sentence(f"the model {model} cannot be moved"):
        if offload:
            pipe.enable_model_cpu_offload(device=device)
        else:
            pipe.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def call_arguments(model, steps, guidance_scale, negative_prompt, height, width) -> dict[str, Any]:
    """The shipped model's call defaults, and what the user gave over them; the rest keeps the pipeline's defaults."""
    given = {
        "num_inference_steps": steps,
        "guidance_scale": guidance_scale,
        "negative_prompt": negative_prompt,
        "height": height,
        "width": width,
    }
    defaults = assets.call_defaults(model) if model in assets.names("pipeline") else {}
    return defaults | {key: value for key, value in given.items() if value is not None}
