"""Pictures and clips as verifiers take them: the only place that reads a picture as a viewer shows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard, overload

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from ..foreign_errors import reason_of
from . import git_lfs

Picture = Image.Image | str | Path
Images = Tensor | Picture | Sequence[Picture] | Sequence[Sequence[Picture]]
"""A float tensor (batch, 3, height, width) in [0, 1]; pictures or files of them, of any sizes and modes; or clips: a
tensor (batch, frames, 3, height, width), or a list of pictures for each clip."""

FORMS = (
    "a float tensor (batch, 3, height, width) or, for clips, (batch, frames, 3, height, width) in [0, 1], or a list of "
    "PIL images or files"
)

LARGEST_BATCH = 2**24
"""Pixels of pictures that are held as tensors of full size at once, beyond the first picture: 200 MB."""

GREY = frozenset({"1", "L", "LA", "La", "I", "F"})
"""Modes without colours, beside those that begin with "I;16"."""


class PictureError(ValueError):
    """A picture is missing, is not a picture, or holds what no viewer could show."""


def read_picture(file: str | Path, keep_grey: bool = False) -> Image.Image:
    """Read a file as `as_shown` shows it.

    Raises:
        PictureError: where it is missing, damaged, too large (Pillow's limit), or cannot be shown; it names the file.
    """
    try:
        with Image.open(file) as picture:
            return as_shown(picture, keep_grey)
    except PictureError:
        raise
    except FileNotFoundError as error:
        raise PictureError(f"no picture {file}; name a file that exists") from error
    except Exception as error:  # each format raises errors of its own
        if git_lfs.is_pointer(file):
            raise PictureError(f"{file} is a git-lfs pointer, not the picture: run git lfs pull") from error
        reason = "no format that Pillow knows" if isinstance(error, UnidentifiedImageError) else reason_of(error)
        raise PictureError(f"the picture {file} cannot be read ({reason}); replace or remove it") from error


def as_shown(picture: Image.Image, keep_grey: bool = False) -> Image.Image:
    """A copy of a picture in 8 bits, as a viewer shows it on a white page.

    - Its EXIF orientation is applied.
    - What is transparent lies over white, by an alpha channel or by a transparent colour alike.
    - 16 bits are scaled to 8: modes "I;16" and "I" (which must then lie in [0, 65535]); "F" must lie in [0, 1].
    - Palettes, CMYK and other colour models are converted by Pillow; colour profiles are not applied.
    - An animation is its first frame, or the frame that the picture has been set to.

    Args:
        picture: of any mode.
        keep_grey: whether a picture without colours stays in mode "L"; else all are "RGB".

    Raises:
        PictureError: where its values have no agreed meaning or its colours cannot be converted.
    """
    picture.load()
    try:
        turned = ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF, which a viewer ignores
        turned = picture.copy()
    wanted = "L" if keep_grey and (picture.mode in GREY or picture.mode.startswith("I;16")) else "RGB"
    if turned.mode[0] in "IF":
        return _in_eight_bits(turned, _label(picture)).convert(wanted)
    try:
        if turned.has_transparency_data:
            page = Image.new("RGBA", turned.size, "white")
            page.alpha_composite(turned.convert("RGBA"))
            turned = page
        return turned.convert(wanted)
    except ValueError as error:
        raise PictureError(f"{_label(picture)} has colours of mode {turned.mode}, which cannot be shown") from error


def _in_eight_bits(picture: Image.Image, label: str) -> Image.Image:
    values = np.asarray(picture)
    most = 1.0 if picture.mode == "F" else 65535
    if values.size and not (values.min() >= 0 and values.max() <= most):  # holds for NaN too
        raise PictureError(
            f"{label} has numbers from {values.min():.6g} to {values.max():.6g} (mode {picture.mode}), and only 0 to "
            f"{most:g} can be shown; save it with 8 or 16 bits"
        )
    shown = np.rint(values * (255 / most)).astype(np.uint8)
    see_through = picture.info.get("transparency")
    if isinstance(see_through, int):
        shown[values == see_through] = 255
    return Image.fromarray(shown)


def to_tensor(picture: Image.Image) -> Tensor:
    """An RGB or grey picture as float32 (1, 3 or 1, height, width) in [0, 1]."""
    # Divided, as pipelines make k / 255: torchvision's `to_dtype` multiplies by 1 / 255, which differs in the last bit.
    return tvf.pil_to_tensor(picture)[None].float().div_(255)


def to_picture(image: Tensor) -> Image.Image:
    """An image (1 or 3, height, width) in [0, 1] as a picture, rounded to the nearest 8-bit levels and clamped."""
    # torchvision's own conversions of floats round down.
    return tvf.to_pil_image((image.detach().float() * 255).round().clamp(0, 255).byte())


class Pictures(Sequence[Image.Image]):
    """Pictures of any sizes, each read on access, as a viewer shows it in RGB; none is kept."""

    def __init__(self, given: Sequence[Picture]):
        self.given = given

    def __len__(self) -> int:
        return len(self.given)

    @overload
    def __getitem__(self, which: int) -> Image.Image: ...
    @overload
    def __getitem__(self, which: slice) -> Pictures: ...
    def __getitem__(self, which: int | slice) -> Image.Image | Pictures:
        if isinstance(which, slice):
            return Pictures(self.given[which])
        picture = self.given[which]
        return as_shown(picture) if isinstance(picture, Image.Image) else read_picture(picture)


def at_one_size(images: Tensor | Sequence[Image.Image], resize: Callable[[Tensor], Tensor]) -> Tensor:
    """A batch of one size: `resize` is applied to a tensor as it is, and to pictures one at a time."""
    if isinstance(images, Tensor):
        return resize(images)
    return torch.cat([resize(to_tensor(picture)) for picture in images])


def read_images(images: Images) -> Tensor | Pictures | list[Pictures]:
    """Tell the forms of images apart; no picture is read yet.

    Returns:
        float32 (batch, 3, height, width) or (batch, frames, 3, height, width), which keep their gradient; pictures; or
        pictures for each clip.

    Raises:
        ValueError: for anything else; it says what was given.
    """
    if isinstance(images, Tensor):
        if images.ndim not in (4, 5) or images.shape[-3] != 3 or not images.is_floating_point():
            raise ValueError(f"images have shape {tuple(images.shape)} and dtype {images.dtype}; expected {FORMS}")
        return images.float()
    if isinstance(images, Pictures):
        return images
    if isinstance(images, (Image.Image, str, Path)):
        return Pictures([images])
    if not isinstance(images, Sequence):
        raise ValueError(f"images are a {type(images).__name__}; expected {FORMS}")
    if _are_pictures(images):
        return Pictures(images)
    clips = [Pictures(clip) for clip in images if isinstance(clip, (list, tuple)) and clip and _are_pictures(clip)]
    if len(clips) == len(images):
        return clips
    kinds = sorted({type(item).__name__ for item in images})
    raise ValueError(f"images are a list of {' and '.join(kinds)}; expected {FORMS}")


def are_clips(images: Tensor | Pictures | list[Pictures]) -> TypeGuard[Tensor | list[Pictures]]:
    """Whether what `read_images` gave are clips."""
    return images.ndim == 5 if isinstance(images, Tensor) else isinstance(images, list)


def image_batches(
    images: Tensor | Pictures | list[Pictures],
    previews: Tensor | Pictures | list[Pictures] | None,
    batch_size: int,
    as_pictures: bool,
    most_pixels: int = LARGEST_BATCH,
) -> Iterator[tuple[int, int, Any, Tensor | None]]:
    """Batches of what `read_images` gave, as copies that may be written to.

    Args:
        images: of any form.
        previews: one per image, of any form and size.
        batch_size: images per batch, at most.
        as_pictures: whether pictures stay pictures; else they become tensors, and a batch ends where the size of images
            or previews changes, or where `most_pixels` are held.
        most_pixels: of pictures that become tensors.

    Yields:
        the first and past-the-last number of a batch, its images, and its previews.
    """
    if isinstance(previews, Tensor | None) and (isinstance(images, Tensor) or (as_pictures and previews is None)):
        for start in range(0, len(images), batch_size):
            stop = min(start + batch_size, len(images))
            batch = images[start:stop]
            yield (
                start,
                stop,
                batch.clone() if isinstance(batch, Tensor) else batch,
                None if previews is None else previews[start:stop].clone(),
            )
        return
    start, pixels = 0, 0
    held: list[Tensor] = []
    early: list[Tensor] = []
    for k in range(len(images)):
        row = _row(images, k)
        before = [] if previews is None else [_row(previews, k)]
        pixels += row.numel() // 3
        full = len(held) == batch_size or pixels > most_pixels
        alike = [x.shape for x in (row, *before)] == [x.shape for x in (*held[-1:], *early[-1:])]
        if held and (full or not alike):
            yield start, k, torch.cat(held), torch.cat(early) if early else None
            start, held, early, pixels = k, [], [], row.numel() // 3
        held.append(row)
        early += before
    if held:
        yield start, len(images), torch.cat(held), torch.cat(early) if early else None


def _row(images: Tensor | Pictures | list[Pictures], k: int) -> Tensor:
    """One image or clip, with its batch dimension."""
    if isinstance(images, Tensor):
        return images[k : k + 1].clone()
    if isinstance(images, Pictures):
        return to_tensor(images[k])
    frames = [to_tensor(frame) for frame in images[k]]
    if len({frame.shape for frame in frames}) > 1:
        raise ValueError("the frames of a clip differ in size; resize them first")
    return torch.stack(frames, 1)


def _are_pictures(images: Any) -> TypeGuard[Sequence[Picture]]:
    return all(isinstance(image, (Image.Image, str, Path)) for image in images)


def _label(picture: Image.Image) -> str:
    return f"the picture {getattr(picture, 'filename', '') or '(in memory)'}"
