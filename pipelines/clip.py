"""A clip as a candidate's picture: its frames, saved without loss as one animated PNG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence, PngImagePlugin

_FRAMES = "frames"

FRAME_MS = 125
"""For how long a frame is shown, in milliseconds: a viewer's rate, not the model's."""


@dataclass(frozen=True)
class Clip:
    """Frames of one size.

    Attributes:
        frames: RGB, in their order.
    """

    frames: list[Image.Image]

    @property
    def middle(self) -> Image.Image:
        """The frame that stands for the clip on a sheet."""
        return self.frames[len(self.frames) // 2]

    def save(self, file: Any, format: str = "PNG") -> None:
        """Write it as an animated PNG; a browser plays it, other viewers show its first frame."""
        first, *others = self.frames
        told = PngImagePlugin.PngInfo()
        told.add_text(_FRAMES, str(len(self.frames)))
        shown = {"save_all": True, "append_images": others, "duration": FRAME_MS, "loop": 0}
        first.save(file, format=format, pnginfo=told, **shown)


def read_picture_or_clip(file: Path) -> Image.Image | Clip:
    """Read a file of a candidate: a clip where `Clip.save` wrote it.

    Equal frames that follow each other are one there, shown for longer.
    """
    with Image.open(file) as image:
        count = int(image.info.get(_FRAMES, 0))
        if not count:
            return image.convert("RGB")
        frames = []
        for frame in ImageSequence.Iterator(image):
            times = round(frame.info.get("duration", FRAME_MS) / FRAME_MS)
            frames += [frame.convert("RGB")] * max(times, 1)
        return Clip(frames * count if len(frames) == 1 else frames)


def as_picture(pixels: np.ndarray) -> Image.Image | Clip:
    """uint8 (height, width, 3) as a picture, (frames, height, width, 3) as a clip."""
    return Image.fromarray(pixels) if pixels.ndim == 3 else Clip([Image.fromarray(frame) for frame in pixels])


def as_array(picture: Image.Image | Clip) -> np.ndarray:
    """A picture as uint8 (height, width, 3), a clip as (frames, height, width, 3)."""
    return np.asarray(picture) if isinstance(picture, Image.Image) else np.stack([*map(np.asarray, picture.frames)])
