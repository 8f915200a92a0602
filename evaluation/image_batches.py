"""Sets of images in any form, as batches of one form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from ..verifiers.images import as_shown, read_picture

ImageSource = str | Path | Tensor | np.ndarray | Iterable[Any]

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")

_RANGE_TOLERANCE = 1e-3


def image_files(folder: str | Path) -> list[Path]:
    """The pictures in a folder and its subfolders, sorted.

    Raises:
        ValueError: where there is no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}; name a folder of images")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"no images ({', '.join(SUFFIXES)}) in {folder}; name a folder that holds some")
    return files


def image_batches(source: ImageSource, batch_size: int = 64, name: str = "given") -> Iterator[Tensor]:
    """Bring a set of images to float32 batches (batch, 1 or 3, height, width) in [0, 1].

    Files and PIL images are taken as a viewer shows them (`verifiers.images.as_shown`); those without colours have one
    channel.

    Args:
        source: a folder; a tensor (n, channels, height, width) or (n, height, width); an array of those forms or
            (n, height, width, channels); or an iterable of files, PIL images, batches of four dimensions, or tuples
            that begin with such a batch, as a DataLoader yields them. Numbers are uint8, or floats in [0, 1].
        batch_size: images per batch; batches that an iterable yields are kept as they come.
        name: what messages call the set.

    Raises:
        ValueError: for images that cannot be read, differ in size or channels, hold NaN or leave [0, 1].
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give at least 1")
    expected = None
    for batch in _batches(source, batch_size, name):
        images = _in_unit_range(batch, name)
        if expected is not None and images.shape[1:] != expected:
            raise ValueError(unlike_images(name, expected, images.shape[1:]))
        expected = images.shape[1:]
        yield images


def _batches(source: ImageSource, batch_size: int, name: str) -> Iterator[Tensor]:
    if isinstance(source, (str, Path)):
        source = image_files(source)
    if isinstance(source, (Tensor, np.ndarray)):
        stack = torch.as_tensor(source)
        if stack.ndim == 3:
            stack = stack[:, None]
        yield from _channels_first(stack, isinstance(source, np.ndarray), name).split(batch_size)
        return
    if not isinstance(source, Iterable):
        raise ValueError(f"the {name} images are a {type(source).__name__}; give a folder, a tensor, or batches")
    items = iter(source)
    for item in items:
        if isinstance(item, (str, Path, Image.Image)):
            yield _stack([item, *islice(items, batch_size - 1)], name)
            continue
        batch = item[0] if isinstance(item, (tuple, list)) and item else item
        if not isinstance(batch, (Tensor, np.ndarray)):
            raise ValueError(
                f"the {name} images come as {type(batch).__name__}; give files, PIL images, or batches as tensors"
            )
        yield _channels_first(torch.as_tensor(batch), isinstance(batch, np.ndarray), name)


def _channels_first(images: Tensor, is_array: bool, name: str) -> Tensor:
    if images.ndim == 4 and is_array and images.shape[-1] in (1, 3):
        return images.movedim(-1, 1)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"the {name} images have shape {tuple(images.shape)}; expected (batch, 1 or 3 channels, height, width)"
        )
    return images


def _in_unit_range(images: Tensor, name: str) -> Tensor:
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.is_floating_point():
        raise ValueError(f"the {name} images have dtype {images.dtype}; expected uint8, or floats in [0, 1]")
    images = images.detach().float()
    if not torch.isfinite(images).all():
        bad = int((~torch.isfinite(images)).flatten(1).any(1).sum())
        raise ValueError(f"{bad} of a batch of {len(images)} {name} images hold NaN or infinity; leave them out")
    if len(images) and (images.min() < -_RANGE_TOLERANCE or images.max() > 1 + _RANGE_TOLERANCE):
        raise ValueError(
            f"the {name} images span {images.min():.3g} to {images.max():.3g}; expected uint8, or floats in [0, 1]"
        )
    return images


def _stack(items: list[Any], name: str) -> Tensor:
    """Files or PIL images as uint8 (batch, 1 or 3, height, width); grey ones have one channel."""
    stacked: list[Tensor] = []
    for item in items:
        pixels = _pixels(item, name)
        if stacked and pixels.shape != stacked[0].shape:
            raise ValueError(
                f"the {name} images differ: {_label(items[0])} is {_form(stacked[0].shape)} but {_label(item)} "
                f"{_form(pixels.shape)}; bring all to one size and number of channels"
            )
        stacked.append(pixels)
    return torch.stack(stacked)


def _pixels(item: Any, name: str) -> Tensor:
    if isinstance(item, (str, Path)):
        picture = read_picture(item, keep_grey=True)
    elif isinstance(item, Image.Image):
        picture = as_shown(item, keep_grey=True)
    else:
        raise ValueError(f"the {name} images mix pictures and {type(item).__name__}; give one kind")
    return tvf.pil_to_tensor(picture)


def unlike_images(name: str, one: Iterable[int], other: Iterable[int]) -> str:
    """The message for a set whose images have two forms (channels, height, width)."""
    return (
        f"the {name} images differ: some are {_form(one)}, some {_form(other)}; bring all to one size and number of "
        "channels"
    )


def _label(item: Any) -> str:
    return str(getattr(item, "filename", "") or "one picture") if isinstance(item, Image.Image) else str(item)


def _form(shape: Iterable[int]) -> str:
    channels, height, width = shape
    return f"{width} x {height} {'grey' if channels == 1 else 'RGB'}"
