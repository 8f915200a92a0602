"""How pictures of any size become inputs of a CLIP model: by the code of the library that the model comes from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.transform import CenterCropOrPad, PreprocessCfg, ResizeKeepRatio, image_transform_v2
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Resize
from torchvision.transforms.v2 import functional as tvf

from .images import to_picture

_GRID_TOLERANCE = 1e-3
"""Of a level: float32 pictures of 8 bits are nearer to whole levels than this."""


class Preprocessing(ABC):
    """Resizing and normalisation of one model; each picture is resized alone, whatever else is in its batch.

    Two paths lead to the model's size:

    - *Pictures*, and images of a tensor that are a picture's 8 bits (k / 255) and carry no gradient, go through the
      library's own code as if read from a file, and are rounded to 8 bits as it does: a search scores what its saved
      files score.
    - *Other tensors* go through torchvision's resizing of the same settings in float, antialiased, with gradients.
      Scores of the two paths agree to about 1e-3 of a cosine (3e-4 on drawn scenes), pixels to one level; only at hard
      edges under bicubic interpolation to about 20, as Pillow clips between its two passes.

    Images that already have the model's size are not resized in either path.

    Attributes:
        size: height and width that the model takes.
        mean, std: three each.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @abstractmethod
    def of_picture(self, picture: Image.Image) -> Tensor:
        """An RGB picture at the model's size, (3, height, width) in [0, 1], as the library makes it."""

    @abstractmethod
    def of_tensor(self, images: Tensor) -> Tensor:
        """Images (batch, 3, any height, any width) at the model's size, differentiably."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides the result, as JSON."""

    def keeps(self, height: int, width: int) -> bool:
        """Whether images of this size pass as they are."""
        return (height, width) == self.size

    def __call__(self, images: Tensor | Sequence[Image.Image]) -> Tensor:
        """What the model takes, (batch, 3, *size), normalised.

        Args:
            images: float (batch, 3, height, width) in [0, 1], or RGB pictures of any sizes.
        """
        if not isinstance(images, Tensor):
            sized = torch.stack([self.of_picture(picture) for picture in images])
        elif self.keeps(*images.shape[-2:]):
            sized = images
        else:
            sized = self._resized(images)
        return tvf.normalize(sized, self.mean, self.std)

    def _resized(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            return self.of_tensor(images)
        levels = images.float() * 255
        off = (levels - levels.round()).abs().flatten(1).amax(1)
        rows = [
            self.of_picture(to_picture(image)).to(images) if whole else self.of_tensor(image[None])[0]
            for image, whole in zip(images, (off < _GRID_TOLERANCE).tolist(), strict=True)
        ]
        return torch.stack(rows)


class OpenClipPreprocessing(Preprocessing):
    """open_clip's own transform for inference.

    Args:
        config: of the model, as `open_clip.get_model_preprocess_cfg` gives it: size, mean, std, interpolation
            ("bicubic", "bilinear"), resize_mode ("shortest", "longest", "squash") and fill_color.
    """

    def __init__(self, config: dict[str, Any] | None = None):
        self.config = whole = PreprocessCfg(**(config or {}))
        height, width = whole.size if isinstance(whole.size, (tuple, list)) else (whole.size, whole.size)
        self.size = (height, width)
        self.mean, self.std = tuple(whole.mean), tuple(whole.std)
        # Normalised by 0 and 1 it ends in [0, 1].
        unit = PreprocessCfg(**{**vars(whole), "mean": (0.0,) * 3, "std": (1.0,) * 3})
        self.transform = image_transform_v2(unit, is_train=False)

    def settings(self) -> dict[str, Any]:
        return {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self.config).items()}

    def of_picture(self, picture: Image.Image) -> Tensor:
        return self.transform(picture)

    def of_tensor(self, images: Tensor) -> Tensor:
        for part in self.transform.transforms:
            if isinstance(part, ResizeKeepRatio):  # which reads the size of PIL images alone
                height, width = images.shape[-2:]
                size = part.get_params(SimpleNamespace(size=(width, height)), part.size, part.longest)
                images = tvf.resize(images, size, part.interpolation, antialias=True)
            elif isinstance(part, CenterCropOrPad):
                images = open_clip.transform.center_crop_or_pad(images, part.size, fill=part.fill / 255)
            elif isinstance(part, (Resize, CenterCrop)):
                images = part(images)
        return images.clamp(0, 1)


def pixel_probe(height: int, width: int) -> Image.Image:
    """A picture on which resizing and cropping show."""
    levels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(levels)
