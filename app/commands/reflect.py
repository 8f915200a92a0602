"""`samplesmith reflect`: a weak model of what `collect` kept, for `--hook weak-to-strong:weak=FOLDER`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...pipelines.numbers import check_numbers
from .options import console, make_folder


def reflect(
    collection: Annotated[Path, typer.Argument(help="folder that `collect` left")] = Path("outputs/collected"),
    guidance_range: Annotated[str, typer.Option(help="guidance scales that it learns, as FROM,TO")] = "1,7.5",
    width: Annotated[int, typer.Option(help="of its tokens, a multiple of 4")] = 96,
    layers: Annotated[int, typer.Option(help="of its transformer")] = 2,
    patch_size: Annotated[int, typer.Option(help="height and width of what becomes a token")] = 2,
    items: Annotated[int, typer.Option(help="collected steps that are seen, each several times")] = 64_000,
    batch_size: Annotated[int, typer.Option(help="of them")] = 64,
    learning_rate: Annotated[float, typer.Option(help="of AdamW, at its peak")] = 2e-3,
    seed: Annotated[int, typer.Option(help="of the first weights and the batches")] = 0,
    output: Annotated[
        Path, typer.Option(help="folder for the checkpoint, log.jsonl and weak-model; a rerun goes on from there")
    ] = Path("outputs/reflected"),
) -> None:
    """Train a weak model on collected steps: half of the NFEs in fast steps, or more than guidance in slow ones.

    Example: `samplesmith reflect outputs/collected --output outputs/reflected`
    """
    check_numbers(batch_size=batch_size, seed=seed)

    from ...training.loop import NonFiniteError
    from ...training.reflect import MODEL, ReflectSettings
    from ...training.reflect import reflect as run

    scales = _read_range(guidance_range)
    settings = ReflectSettings(scales, width, layers, patch_size, items, batch_size, learning_rate, seed)
    if not collection.is_dir():
        raise ValueError(f"no folder {collection}; `samplesmith collect` makes one")
    make_folder(output)
    try:
        model = run(collection, output, settings)
    except NonFiniteError as error:
        raise ValueError(str(error)) from error
    count = sum(parameter.numel() for parameter in model.parameters())
    console.print(
        f"a weak model of {count / 1e6:.2f} M parameters in {output / MODEL}; "
        f'--hook "weak-to-strong:weak={output / MODEL}" takes it',
        soft_wrap=True,
    )


def _read_range(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--guidance-range is {text!r}; give two scales, such as 1,7.5") from None
    return low, high
