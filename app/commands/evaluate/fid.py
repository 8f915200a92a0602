"""`samplesmith evaluate fid`: how far a set of images is from real ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ....foreign_errors import in_one_sentence
from ....pipelines.numbers import check_numbers
from ....pipelines.shipped import call_arguments, check_vocabulary
from ....valid_json import to_json
from ..options import Device, Dtype, Guidance, Json, Offload, Steps, console, errors, make_folder, read_prompts

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ....evaluation import SavedStatistics


FASHION: dict[str, Literal["train", "test"]] = {"fashion-mnist-test": "test", "fashion-mnist-train": "train"}
"""Real sets that need no folder, and their splits."""

WITH_IMAGES = ("fid_error", "kid_mean", "kid_std", "precision", "recall")
"""Measures that take the real images themselves."""


def fid(
    real: Annotated[
        str,
        typer.Option(
            help="a folder of real images, an .npz file of their statistics (mu, sigma), fashion-mnist-test or "
            "fashion-mnist-train"
        ),
    ],
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
    prompts: Annotated[
        Path | None, typer.Option(help="a UTF-8 text file with one prompt per line, taken in turn")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="class labels taken in turn, such as 0-9 or 3,5; all when left out")
    ] = None,
    images: Annotated[int | None, typer.Option(help="images to make; 1,000 when left out")] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="in place of the model's own: ddim, euler, flow-sde:diffusion=square,norm=3, or a class of diffusers"
        ),
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
    if wanted < 4:
        raise ValueError(f"--images is {wanted}; give at least 4")
    check_numbers(steps=steps, batch_size=batch_size, seed=seed, guidance_scale=guidance_scale)

    from ....evaluation.image_batches import image_files
    from ....evaluation.saved_statistics import is_statistics, load_statistics
    from ....pipelines.on_device import check_device, load_on_device
    from ....pipelines.processes import processes

    check_device(device, offload and model is not None)
    saved = load_statistics(real) if is_statistics(real) else None
    if output is not None:
        make_folder(output)

    with processes() as team, _bar(not as_json and team.rank == 0) as bar:
        rank, world = team.rank, team.size
        real_images = [] if saved is not None else _real_images(real)
        if model is None:
            assert generated is not None  # one of the two was given
            files = image_files(generated)
            order: Sequence[int] = range(rank, len(files), world)
            made: Any = files[rank::world]
            total = len(order)
        else:
            conditions = _conditions(prompts, labels, model)
            folder = _picture_folder(output, rank)
        name, extractor = _features(features, inception_weights, device)
        if model is not None:
            from ....evaluation.generation import generate
            from ....samplers.by_name import set_scheduler

            pipe = load_on_device(model, dtype, device, offload)
            if scheduler is not None:
                set_scheduler(pipe, scheduler)
            arguments = call_arguments(model, {"num_inference_steps": steps, "guidance_scale": guidance_scale})
            numbers = range(rank, wanted, world)
            total = len(numbers)
            made = generate(pipe, conditions or _all_labels(pipe), numbers, seed, batch_size, arguments)
            made = _saved(made, folder, order := [])
        made = _watched(made, "generated", total, batch_size, bar)
        if saved is not None:
            found = _against(saved, real, made, extractor, batch_size)
        else:
            places = range(rank, len(real_images), world)
            known = _watched(real_images[rank::world], "real", len(places), batch_size, bar)
            found = _compared((known, places), (made, order), extractor, batch_size, seed)
    if team.rank == 0:
        _report(name, found, output, as_json)


def _compared(
    real: tuple[Iterator[Tensor], Sequence[int]],
    made: tuple[Iterator[Tensor], Sequence[int]],
    extractor: Any,
    batch_size: int,
    seed: int,
) -> dict[str, Any]:
    """All measures of two sets, each the share of this process and the numbers of its images."""
    from ....evaluation.features import gathered_features
    from ....evaluation.fid import compare_features

    first = gathered_features(real[0], extractor, batch_size, "real", real[1])
    second = gathered_features(made[0], extractor, batch_size, "generated", made[1])
    return asdict(compare_features(first, second, seed=seed))


def _against(
    saved: SavedStatistics, name: str, made: Iterator[Tensor], extractor: Any, batch_size: int
) -> dict[str, Any]:
    """What statistics alone can tell; the rest is null, with the reason."""
    from ....evaluation.features import feature_statistics
    from ....evaluation.fid import fid as distance

    whole = feature_statistics(made, extractor, batch_size, "generated")
    known = {"real": None, "generated": whole.count, "fid": distance(saved, whole, extractor)}
    return known | dict.fromkeys(WITH_IMAGES) | {"reason": f"{name} holds statistics alone: the rest needs its images"}


@contextmanager
def _bar(shown: bool) -> Iterator[Progress]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, disable=not shown, transient=True) as bar:
        yield bar


def _watched(source: Any, name: str, total: int, batch_size: int, bar: Progress) -> Iterator[Tensor]:
    """The batches of a set of images, counted as they are taken."""
    from ....evaluation.image_batches import image_batches

    task = bar.add_task(f"{name} images", total=total)
    for batch in image_batches(source, batch_size, name):
        yield batch
        bar.advance(task, len(batch))


def _real_images(name: str) -> list[Path] | np.ndarray:
    """Files, or pictures in the form that our models of that data make."""
    if name not in FASHION:
        from ....evaluation.image_batches import image_files

        return image_files(name)
    from ....fashion import load, pad

    return pad(load(FASHION[name])[0])


def _features(name: str | None, inception_weights: Path | None, device: str | None) -> tuple[str, Any]:
    from ....evaluation.feature_extractors import load_features
    from ....pipelines.on_device import default_device

    return load_features(name, inception_weights, device or default_device())


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


def _saved(
    batches: Iterator[tuple[list[int], np.ndarray]], folder: Path | None, order: list[int]
) -> Iterator[np.ndarray]:
    """The images, saved as they come where a folder is given; their numbers are appended to `order`."""
    from PIL import Image

    for numbers, images in batches:
        order += numbers
        if folder is not None:
            for number, image in zip(numbers, images, strict=True):
                Image.fromarray(image).save(folder / f"{number:06d}.png")
        yield images


def _report(features: str, found: dict[str, Any], output: Path | None, as_json: bool) -> None:
    text = to_json({"features": features, **found}, indent=2)
    if as_json:
        print(text)
    else:
        _print(features, found)
    if output is not None:
        with in_one_sentence(f"{output / 'fid.json'} cannot be written"):
            (output / "fid.json").write_text(text + "\n")


def _print(features: str, found: dict[str, Any]) -> None:
    between = "±" if console.encoding.lower().startswith("utf") else "+/-"
    measures = {"FID": ("fid", "fid_error"), "KID": ("kid_mean", "kid_std")}
    row = [features, *("" if found[key] is None else str(found[key]) for key in ("real", "generated"))]
    for value, error in measures.values():
        row.append(
            _figure(found[value], ".4g") + (f" {between} {found[error]:.2g}" if found[error] is not None else "")
        )
    row += [_figure(found[key], ".3f") for key in ("precision", "recall")]
    table = Table("features", "real", "generated", *measures, "precision", "recall")
    table.add_row(*row)
    console.print(table)
    if "reason" in found:
        console.print(found["reason"], soft_wrap=True)


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
