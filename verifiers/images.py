"""The images that a verifier accepts, as one tensor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

Images = Tensor | Sequence[Image.Image]


def as_tensor(images: Images, size: int | None = None) -> Tensor:
    """Bring images to float32 (batch, 3, height, width) in [0, 1]; a tensor keeps its gradient.

    Args:
        images: a float tensor of that form, a PIL image, or a list of them.
        size: PIL images of unequal sizes are resized to (size, size); None: unequal sizes are an error.

    Raises:
        ValueError: for anything else, with what was found.
    """
    if isinstance(images, Image.Image):
        images = [images]
    if isinstance(images, Tensor):
        if images.ndim not in (4, 5) or images.shape[-3] != 3 or not images.is_floating_point():
            raise ValueError(
                f"images have shape {tuple(images.shape)} and dtype {images.dtype}; expected a float tensor "
                "(batch, 3, height, width) in [0, 1]"
            )
        return images.float()
    if not all(isinstance(image, Image.Image) for image in images):
        raise ValueError("images must be a float tensor (batch, 3, height, width) in [0, 1] or a list of PIL images")
    if not images:
        return torch.zeros(0, 3, size or 1, size or 1)
    pictures = [image.convert("RGB") for image in images]
    if len({picture.size for picture in pictures}) > 1:
        if size is None:
            raise ValueError("the images differ in size and this verifier has no size of its own; resize them first")
        pictures = [picture.resize((size, size), Image.Resampling.BICUBIC) for picture in pictures]
    pixels = np.stack([np.asarray(picture) for picture in pictures])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255


def resize_and_crop(images: Tensor, size: int) -> Tensor:
    """Bring (batch, 3, height, width) in [0, 1] to (batch, 3, size, size) as CLIP's preprocessing does.

    The shorter side is resized (bicubic, antialiased), then the centre is cropped; gradients pass.
    """
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    factor = size / min(height, width)
    resized = (max(size, round(height * factor)), max(size, round(width * factor)))
    images = F.interpolate(images, size=resized, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (resized[0] - size) // 2, (resized[1] - size) // 2
    return images[..., top : top + size, left : left + size]
