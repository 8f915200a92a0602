"""`samplesmith evaluate`: measures of whole sets of images."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..valid_json import to_json
from .options import (
    Device,
    Dtype,
    Guidance,
    Json,
    Offload,
    Steps,
    call_arguments,
    check_vocabulary,
    console,
    errors,
    load_pipeline,
    read_prompts,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..evaluation import Comparison

evaluate = typer.Typer(no_args_is_help=True, help="Measure whole sets of images.")

FASHION = {"fashion-mnist-test": "test", "fashion-mnist-train": "train"}
"""Real sets that need no folder, and their splits."""


@evaluate.command()
def fid(
    real: Annotated[str, typer.Option(help="a folder of real images, fashion-mnist-test or fashion-mnist-train")],
    generated: Annotated[Path | None, typer.Option(help="a folder of generated images; or --model")] = None,
    model: Annotated[
        str | None, typer.Option(help="makes the images: a shipped model, a folder, a .safetensors file or a hub id")
    ] = None,
    features: Annotated[
        str | None, typer.Option(help="a shipped model such as emoji-clip, a folder of a model, or inception")
    ] = None,
    inception_weights: Annotated[
        Path | None, typer.Option(help="file of torch-fidelity's Inception; nothing is downloaded")
    ] = None,
    prompts: Annotated[Path | None, typer.Option(help="a file with a prompt a line, taken in turn")] = None,
    labels: Annotated[
        str | None, typer.Option(help="class labels taken in turn, such as 0-9 or 3,5; all when left out")
    ] = None,
    images: Annotated[int | None, typer.Option(help="images to make; 1,000 when left out")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="in place of the model's: ddim, pndm, dpmsolver++, euler, or a class name")
    ] = None,
    steps: Steps = None,
    guidance_scale: Guidance = None,
    seed: Annotated[int, typer.Option(help="seed of the first image to make, and of KID's subsets")] = 0,
    batch_size: Annotated[int, typer.Option(help="images in one call of the pipeline or the features")] = 64,
    output: Annotated[Path | None, typer.Option(help="folder for fid.json, and the images that --model makes")] = None,
    dtype: Dtype = "float32",
    device: Device = None,
    offload: Offload = False,
    as_json: Json = False,
) -> None:
    """Fréchet distance with its standard error, kernel distance, precision and recall.

    Example: `samplesmith evaluate fid --real photos --generated outputs/sample --features emoji-clip`

    Example: `samplesmith evaluate fid --real photos --model emoji-sd3 --prompts prompts.txt --scheduler flow-euler
    --steps 10 --images 1000 --features emoji-clip`
    """
    if (generated is None) == (model is None):
        raise ValueError("give just one of --generated FOLDER and --model MODEL")
    of_model = {
        "prompts": prompts,
        "labels": labels,
        "images": images,
        "scheduler": scheduler,
        "steps": steps,
        "guidance-scale": guidance_scale,
    }
    if model is None and (idle := [f"--{name}" for name, value in of_model.items() if value is not None]):
        raise ValueError(f"{', '.join(idle)}: for images that --model makes; leave out beside --generated")
    wanted = 1000 if images is None else images
    if wanted < 4 or batch_size < 1 or seed < 0:
        raise ValueError(f"--images is {wanted}, --batch-size {batch_size} and --seed {seed}; give at least 4, 1 and 0")

    from ..evaluation import compare
    from ..evaluation.image_batches import image_files
    from ..pipelines.processes import processes

    with processes() as team, _bar(not as_json and team.rank == 0) as bar:
        rank, world = team.rank, team.size
        real_images = _real_images(real)[rank::world]
        if model is None:
            made: Any = image_files(generated)[rank::world]
            total = len(made)
        else:
            conditions = _conditions(prompts, labels, model)
            folder = _picture_folder(output, rank)
        name, extractor = _features(features, inception_weights, device)
        if model is not None:
            from ..evaluation.generation import generate, set_scheduler

            pipe = load_pipeline(model, dtype, device, offload)
            if scheduler is not None:
                set_scheduler(pipe, scheduler)
            arguments = call_arguments(model, steps, guidance_scale, None, None, None)
            numbers = range(rank, wanted, world)
            total = len(numbers)
            made = _saved(generate(pipe, conditions or _all_labels(pipe), numbers, seed, batch_size, arguments), folder)
        found = compare(
            _watched(real_images, "real", len(real_images), batch_size, bar),
            _watched(made, "generated", total, batch_size, bar),
            extractor,
            seed=seed,
        )
    if team.rank == 0:
        _report(name, found, output, as_json)


@contextmanager
def _bar(shown: bool) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not shown, transient=True) as bar:
        yield bar


def _watched(source: Any, name: str, total: int, batch_size: int, bar: Progress) -> Iterator[Tensor]:
    """The batches of a set of images, counted as they are taken."""
    from ..evaluation.image_batches import image_batches

    task = bar.add_task(f"{name} images", total=total)
    for batch in image_batches(source, batch_size, name):
        yield batch
        bar.advance(task, len(batch))


def _real_images(name: str) -> list[Path] | np.ndarray:
    """Files, or pictures in the form that our models of that data make."""
    if name not in FASHION:
        from ..evaluation.image_batches import image_files

        return image_files(name)
    from ..fashion import load, pad

    return pad(load(FASHION[name])[0])


def _features(name: str | None, inception_weights: Path | None, device: str | None) -> tuple[str, Any]:
    import torch

    from ..evaluation.feature_extractors import load_features

    return load_features(name, inception_weights, device or ("cuda" if torch.cuda.is_available() else "cpu"))


def _conditions(prompts: Path | None, labels: str | None, model: str) -> list[str]:
    """Prompts or class labels as the user gave them; none where neither is given."""
    if prompts is not None and labels is not None:
        raise ValueError("give just one of --prompts and --labels")
    if prompts is not None:
        found = read_prompts(None, prompts)
        check_vocabulary(found, model, [])
        return found
    found = []
    for part in filter(None, map(str.strip, (labels or "").split(","))):
        if ends := re.fullmatch(r"(\d+)-(\d+)", part):
            found += map(str, range(int(ends[1]), int(ends[2]) + 1))
        else:
            found.append(part)
    if labels is not None and not found:
        raise ValueError(f"--labels is {labels!r}; give class labels such as 0-9 or 3,5")
    return found


def _all_labels(pipe: Any) -> list[int]:
    if not (found := sorted(set((getattr(pipe, "labels", None) or {}).values()))):
        raise ValueError(
            f"{type(pipe).__name__} has no named class labels; give --prompts FILE or --labels, as it takes"
        )
    return found


def _picture_folder(output: Path | None, rank: int) -> Path | None:
    if output is None:
        return None
    folder = output / "images"
    folder.mkdir(parents=True, exist_ok=True)
    if rank == 0 and any(folder.iterdir()):
        raise ValueError(f"{folder} holds images already; measure them by --generated {folder}, or name another folder")
    return folder


def _saved(batches: Iterator[tuple[list[int], np.ndarray]], folder: Path | None) -> Iterator[np.ndarray]:
    from PIL import Image

    for numbers, images in batches:
        if folder is not None:
            for number, image in zip(numbers, images, strict=True):
                Image.fromarray(image).save(folder / f"{number:06d}.png")
        yield images


def _report(features: str, found: Comparison, output: Path | None, as_json: bool) -> None:
    text = to_json({"features": features, **asdict(found)}, indent=2)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "fid.json").write_text(text + "\n")
    if as_json:
        print(text)
        return
    table = Table("features", "real", "generated", "FID", "KID", "precision", "recall")
    table.add_row(
        features,
        str(found.real),
        str(found.generated),
        f"{found.fid:.4g} ± {found.fid_error:.2g}",
        f"{found.kid_mean:.4g} ± {found.kid_std:.2g}",
        f"{found.precision:.3f}",
        f"{found.recall:.3f}",
    )
    console.print(table)
