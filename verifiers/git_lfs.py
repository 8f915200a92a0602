"""Files that git-lfs left as pointers: a common reason why a folder from a hub holds no weights and no pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_START = b"version https://git-lfs.github.com/spec/"


def is_pointer(file: str | Path) -> bool:
    """Whether a file holds only the address of its content."""
    try:
        with Path(file).open("rb") as opened:
            return opened.read(len(_START)) == _START
    except OSError:
        return False


def refuse_pointers(files: Iterable[str | Path]) -> None:
    """Refuse files of weights that are pointers.

    Raises:
        ValueError: naming the first.
    """
    for file in files:
        if is_pointer(file):
            raise ValueError(f"{file} is a git-lfs pointer, not the weights: run git lfs pull")
