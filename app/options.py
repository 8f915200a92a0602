"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from .. import assets

# What is printed is text, never rich's markup: prompts may hold [brackets] and :colons:.
console = Console(markup=False, emoji=False)
errors = Console(stderr=True, markup=False, emoji=False)

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


def read_prompts(prompt: str | None, file: Path | None) -> list[str]:
    if (prompt is None) == (file is None):
        raise ValueError("give just one of PROMPT and --prompts FILE")
    if prompt is not None:
        return [prompt]
    if not file.is_file():
        raise ValueError(f"no file {file}; --prompts names a text file with a prompt a line")
    lines = [line.strip() for line in file.read_text().splitlines()]
    if not (found := [line for line in lines if line and not line.startswith("#")]):
        raise ValueError(f"{file} holds no prompt; write one a line")
    return found


def read_steps(text: str | None) -> int | str | None:
    """A number of steps, or "auto"."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"--steps is {text!r}; give a whole number of at least 1, or auto")
    return int(text)


def default_guide(model: str) -> str:
    """The verifier that searches a shipped model where none is named; any other model gets emoji-clip."""
    card = assets.card(model) if model in assets.names() else {}
    return card.get("guide", "emoji-clip")


def check_vocabulary(prompts: list[str], model: str | None, verifiers: list[str]) -> None:
    """Name the words that a shipped model has never seen; the judge needs a whole caption."""
    from ..scenes import UnknownWordError, parse, unknown_words, words_of

    shipped = assets.names()
    used = [name for name in (model, *verifiers) if name in shipped]
    for prompt in prompts:
        if any(assets.card(name).get("vocabulary") == "emoji" for name in used) and (words := unknown_words(prompt)):
            raise UnknownWordError(words)
        for name in used:
            if words := sorted(set(words_of(prompt)) & set(assets.card(name).get("lacks", ()))):
                raise ValueError(
                    f"{name} was trained before the captions had {', '.join(map(repr, words))}; write a full caption "
                    'with number words, such as "two cats on blue"'
                )
        if any(assets.card(name).get("loader") == "detector" for name in used) and prompt.strip():
            parse(prompt)


def load_pipeline(model: str, dtype: str, device: str | None, offload: bool) -> Any:
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from ..pipelines import load

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    pipe = load(model, dtype)
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
