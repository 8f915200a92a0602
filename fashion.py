"""Fashion-MNIST (Xiao et al., arXiv 1708.07747; MIT licence): 28 px grey pictures of clothes in ten classes."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
"""Names of the labels 0 to 9."""

TOPS = (0, 2, 3, 4, 6)
"""Labels of what is worn on the upper body; `REST` holds the others."""
REST = (1, 5, 7, 8, 9)

IMAGE_SIZE = 28
PADDED_SIZE = 32
"""Side of the pictures that our models see: a black border of two pixels makes it a power of two."""

FOLDER_VARIABLE = "SAMPLESMITH_FASHION_MNIST"
_DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"
_PREFIXES = {"train": "train", "test": "t10k"}


def load(split: Literal["train", "test"], folder: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read a split: 60,000 pictures to train with, 10,000 to test with.

    Args:
        split: which.
        folder: holds the data set's four idx files, gzipped or not; None: the folder that the environment variable
            SAMPLESMITH_FASHION_MNIST names, else where Debian's package puts them.

    Returns:
        images: uint8 (n, 28, 28), 0 is the black background.
        labels: uint8 (n,), indices into `CLASSES`.

    Raises:
        FileNotFoundError: where the data set is not installed; the message says how to get it.
        ValueError: for an unknown split, or a file that does not hold what its name says.
    """
    if split not in _PREFIXES:
        raise ValueError(f"unknown split {split!r}; known: {', '.join(_PREFIXES)}")
    root = Path(folder or os.environ.get(FOLDER_VARIABLE) or _DEBIAN_FOLDER)
    images = _read_idx(root, f"{_PREFIXES[split]}-images-idx3-ubyte", dimensions=3)
    labels = _read_idx(root, f"{_PREFIXES[split]}-labels-idx1-ubyte", dimensions=1)
    if images.shape != (len(labels), IMAGE_SIZE, IMAGE_SIZE) or labels.max(initial=0) >= len(CLASSES):
        raise ValueError(
            f"{root} is no Fashion-MNIST: its {split} split has images of shape {images.shape} and {len(labels)} labels"
        )
    return images, labels


def pad(images: np.ndarray) -> np.ndarray:
    """Pictures (n, 28, 28) with a black border: (n, 32, 32)."""
    border = (PADDED_SIZE - IMAGE_SIZE) // 2
    return np.pad(images, ((0, 0), (border, border), (border, border)))


def _read_idx(root: Path, name: str, dimensions: int) -> np.ndarray:
    """An idx file of unsigned bytes: two zeros, type 8, the number of dimensions, their big-endian sizes, the data."""
    archive, plain = root / f"{name}.gz", root / name
    if archive.is_file():
        try:
            data = gzip.decompress(archive.read_bytes())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{archive} is damaged: {error}") from error
    elif plain.is_file():
        data = plain.read_bytes()
    else:
        raise FileNotFoundError(
            f"no Fashion-MNIST in {root} ({archive.name} is missing): install it by `apt-get install "
            f"dataset-fashion-mnist`, or let {FOLDER_VARIABLE} name the folder of its four idx files"
        )
    header = 4 + 4 * dimensions
    shape = tuple(np.frombuffer(data, ">u4", dimensions, offset=4).tolist()) if len(data) >= header else ()
    if data[:4] != bytes([0, 0, 8, dimensions]) or len(data) != header + int(np.prod(shape)):
        raise ValueError(f"{root / name} is no whole idx file of {dimensions} dimensions of bytes")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()
