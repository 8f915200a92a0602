"""What repeats a run of the page elsewhere: a Python program and a command line, exact to the seed and the batch."""

from __future__ import annotations

import shlex
from typing import Any

from ..models import IN_HAND, Models
from .request import AUTO, SearchRequest


def search_snippet(asked: SearchRequest, size: dict[str, int], models: Models) -> str:
    """A Python program that makes the same search.

    Args:
        asked: the run.
        size: `num_candidates` or `budget`.
        models: of the page.
    """
    arguments = {**size, "seed": asked.seed, "batch_size": asked.batch_size, **asked.arguments()}
    settings = [_verifier(asked.verifier, models), f"strategy={asked.strategy!r}"]
    if asked.judge is not None:
        settings.append(f"judge={_verifier(asked.judge, models)}")
    if asked.steps == AUTO:
        settings.append(f"calibration=shipped_calibration({asked.model!r}, {asked.verifier!r})")
    lines = [
        "import samplesmith",
        "from samplesmith.pipelines import NoiseSearch",
        *(["from samplesmith.pipelines.search.auto_steps import shipped_calibration"] if asked.steps == AUTO else []),
        "from samplesmith.verifiers import load_verifier",
        "",
        _pipeline(asked.model, models),
        f"search = NoiseSearch(pipe, {', '.join(settings)})",
        "result = search(",
        f"    {asked.prompt!r},",
        *(f"    {name}={value!r}," for name, value in arguments.items()),
        ")",
        "best = result.best[0]",
        'print(f"seed {best.seed}, score {best.score:.6f}")',
        'best.image.save("best.png")',
    ]
    return "\n".join(lines) + "\n"


def search_command(asked: SearchRequest, size: dict[str, int], models: Models) -> str:
    """The command line of the same search; a comment where the page stands on objects that no command can name."""
    in_hand = [IN_HAND] if models.pipe is not None else []
    if models.verifier is not None:
        in_hand.append(models.verifier.name)
    if named := [name for name in (asked.model, asked.verifier, asked.judge) if name in in_hand]:
        return f"# {' and '.join(dict.fromkeys(named))}: an object in your program, which no command line can name\n"
    size = {("candidates" if name == "num_candidates" else name): value for name, value in size.items()}
    given = {
        "model": asked.model,
        "verifier": asked.verifier,
        "judge": asked.judge,
        "strategy": asked.strategy,
        **size,
        "seed": asked.seed,
        "batch-size": asked.batch_size,
        "steps": asked.steps,
        "guidance-scale": asked.guidance_scale,
        "height": asked.height,
        "width": asked.width,
        "dtype": None if models.dtype == "float32" else models.dtype,
        "device": models.device,
    }
    words = [f"--{name} {shlex.quote(str(value))}" for name, value in given.items() if value is not None]
    if models.offload:
        words.append("--offload")
    return f"samplesmith search {shlex.quote(asked.prompt)} {' '.join(words)}\n"


def _pipeline(name: str, models: Models) -> str:
    if name == IN_HAND:
        return f"pipe = ...  # the {type(models.pipe).__name__} that the page was opened on"
    dtype = "" if models.dtype == "float32" else f", dtype={models.dtype!r}"
    line = f"pipe = samplesmith.load({name!r}{dtype})"
    if models.offload:
        return f"{line}\npipe.enable_model_cpu_offload()"
    device = models.device or _device(name, models)
    return line if device == "cpu" else f'{line}.to("{device}")'


def _device(name: str, models: Models) -> str:
    return str(models.pipeline(name).device) if models.has(name) else "cpu"


def _verifier(name: str, models: Models) -> Any:
    if models.verifier is not None and name == models.verifier.name:
        return "verifier"
    return f"load_verifier({name!r})"
