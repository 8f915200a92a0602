"""What a pipeline's call gives back, as 8-bit pictures or clips: the first field of its output, however it is named."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image

SHOWN = ("images", "image", "frames", "videos", "video", "rgb")
"""Names that diffusers gives to the pictures or clips of an output."""


def check_output(pipe: Any) -> None:
    """Whether a pipeline makes pictures or clips, by the output classes that its module uses.

    Raises:
        ValueError: for one that makes something else (sound, embeddings).
    """
    made = _made(pipe)
    if made and not set(SHOWN) & set(made):
        raise ValueError(f"{type(pipe).__name__} makes {made[0]}, and only pictures and clips can be scored")


def makes_clips(pipe: Any) -> bool:
    """Whether a pipeline makes clips and not pictures."""
    made = _made(pipe)
    return bool({"frames", "videos", "video"} & set(made)) and not {"images", "image"} & set(made)


def _made(pipe: Any) -> list[str]:
    """The first fields of the output classes that a pipeline's module uses."""
    owner = next(kind for kind in type(pipe).__mro__ if "__call__" in vars(kind))
    names = vars(sys.modules[owner.__module__])
    kinds = [one for name, one in names.items() if name.endswith("PipelineOutput") and _is_output(one)]
    return [dataclasses.fields(kind)[0].name for kind in kinds]


def _is_output(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseOutput) and dataclasses.is_dataclass(kind)


def main_output(out: Any) -> Any:
    """The pictures, clips or latents of a pipeline's output: its first field."""
    return next(iter(out.values())) if isinstance(out, Mapping) else out[0]


def finished_pixels(out: Any) -> tuple[np.ndarray, list[bool]]:
    """What a pipeline's call with `output_type="np"` made.

    Args:
        out: pictures (batch, height, width, 1 or 3) or clips (batch, frames, height, width, 3), in [0, 1], or lists of
            them or of PIL images.

    Returns:
        uint8 pictures (batch, height, width, 3) or clips (batch, frames, height, width, 3) with NaN shown as 0, and
        whether each is free of NaN and not blacked by a safety checker.

    Raises:
        ValueError: for an output that is neither.
    """
    images = _array(main_output(out))
    if images.ndim not in (4, 5) or images.shape[-1] not in (1, 3):
        raise ValueError(f"an output of shape {images.shape} is no batch of pictures or clips")
    pixels, usable = as_pixels(images)
    blacked = getattr(out, "nsfw_content_detected", None) or [False] * len(pixels)
    return pixels, [good and not black for good, black in zip(usable, blacked, strict=True)]


def _array(images: Any) -> np.ndarray:
    if isinstance(images, torch.Tensor):
        return images.float().cpu().numpy()
    if isinstance(images, Image.Image):
        return np.asarray(images.convert("RGB")) / 255
    if isinstance(images, (list, tuple)):
        return np.stack([_array(one) for one in images])
    return np.asarray(images)


def as_pixels(images: np.ndarray) -> tuple[np.ndarray, list[bool]]:
    """From [0, 1], (batch, ..., height, width, 1 or 3), to uint8 in three channels; and whether each is free of NaN."""
    if images.shape[-1] == 1:  # verifiers look at colours
        images = images.repeat(3, -1)
    usable = np.isfinite(images).reshape(len(images), -1).all(1).tolist()
    pixels = (images if all(usable) else np.nan_to_num(images)).clip(0, 1)
    pixels *= 255
    return pixels.round(out=pixels).astype(np.uint8), usable
