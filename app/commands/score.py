"""`samplesmith score`: what a verifier says of the images of a folder."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from ...pipelines.shipped import check_vocabulary
from ...valid_json import to_json
from .options import Device, Json, console, number_text


def score(
    folder: Annotated[Path, typer.Argument(help="folder of images, its subfolders included")],
    prompt: Annotated[str | None, typer.Option(help="what they should show")] = None,
    verifier: Annotated[str, typer.Option(help="a verifier")] = "emoji-clip",
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Score the images of a folder.

    Example: `samplesmith score outputs/sample --prompt "a car left of a tree on yellow" --verifier emoji-detector`
    """
    from ...evaluation.image_batches import image_files

    files = image_files(folder)
    if prompt is not None:
        check_vocabulary([prompt], None, [verifier])

    from ...pipelines.on_device import check_device, default_device
    from ...verifiers import load_verifier

    check_device(device)
    loaded = load_verifier(verifier)
    if prompt is None and loaded.reads_prompt:
        raise ValueError(f"{verifier} compares images with a prompt; say by --prompt what they should show")
    loaded.to(device or default_device())
    # Files are read one at a time, and scored in batches.
    scores = loaded(files, prompt or "").tolist()
    if as_json:
        print(to_json([_scored(*pair) for pair in zip(files, scores, strict=True)], indent=2))
        return
    table = Table(Column("image", overflow="fold"), verifier)
    for file, value in zip(files, scores, strict=True):
        table.add_row(str(file.relative_to(folder)), number_text(value, ".4f"))
    console.print(table)


def _scored(file: Path, score: float) -> dict[str, Any]:
    if isfinite(score):
        return {"file": str(file), "score": score}
    return {"file": str(file), "score": None, "reason": f"the verifier gave {score}"}
