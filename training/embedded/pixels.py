"""Pictures as pixels and as tensors, and sheets of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def images_to_tensor(images: np.ndarray) -> torch.Tensor:
    """uint8 (batch, height, width, 3) to float32 (batch, 3, height, width) in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().contiguous() / 127.5 - 1


def tensor_to_images(images: torch.Tensor) -> np.ndarray:
    """The inverse of `images_to_tensor`, clamped and rounded."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def save_sheet(images: np.ndarray | Sequence[np.ndarray], file: Path, columns: int) -> None:
    """Write pictures row by row into one file.

    Args:
        images: (batch, height, width) or (batch, height, width, 3), uint8; the batch fills whole rows.
        file: a PNG.
        columns: pictures of a row.
    """
    rows = [np.concatenate(list(images[i : i + columns]), 1) for i in range(0, len(images), columns)]
    Image.fromarray(np.concatenate(rows)).save(file)
