"""Shares of a search that several processes work on, as torchrun or accelerate start them: who does what, and locks.

Prompts are dealt out in turn. Each process writes to files of its own and waits for no other; whoever ends last merges
them (`merge`), and so does the next run, whatever the number of its processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class Shard:
    """One share.

    Attributes:
        rank: of this one, from 0.
        size: how many there are.
    """

    rank: int
    size: int

    @classmethod
    def of_this_process(cls) -> Shard | None:
        """As the environment says; None for a process that is alone."""
        size = int(os.environ.get("WORLD_SIZE", "1"))
        return cls(int(os.environ.get("RANK", "0")), size) if size > 1 else None

    @property
    def name(self) -> str:
        return f"{self.rank}-of-{self.size}"

    @property
    def mark(self) -> str:
        """Name of the file that says that the share is done."""
        return f".done.{self.name}"

    def owns(self, prompt_index: int) -> bool:
        return prompt_index % self.size == self.rank

    def team(self) -> list[Shard]:
        """All shares, this one among them."""
        return [Shard(rank, self.size) for rank in range(self.size)]


def busy_shards(folder: Path, but: Shard | None = None) -> list[str]:
    """Names of the shares that a process is working on."""
    names = [file.name.removeprefix(".lock.") for file in sorted(folder.glob(".lock.*-of-*"))]
    return [name for name in names if (but is None or name != but.name) and _is_held(folder / f".lock.{name}")]


def _is_held(file: Path) -> bool:
    try:
        with FileLock(file, timeout=0):
            return False
    except Timeout:
        return True


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes from the files that all share, for a moment."""
    with FileLock(folder / ".merge.lock"):
        yield
