"""Filling a folder with shards: which are missing, whose they are, and what a full disk says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout
from rich.progress import track

from ..pipelines.search.shards import Shard, busy_shards, held
from .collected import CollectionError, Index, Items, ShardEntry, write_shard


class Maker(Protocol):
    """Makes the shards of a collection, each from its number alone."""

    @property
    def shards(self) -> int:
        """How many there are without a bound."""

    def describe(self) -> dict[str, Any]:
        """The run, for its folder."""

    def numbers(self, shard: int, trajectory_bytes: int) -> range:
        """The trajectories of a shard.

        Args:
            shard: its number.
            trajectory_bytes: what each takes on disk; 0 while that is not known.
        """

    def make(self, shard: int, trajectory_bytes: int) -> tuple[ShardEntry, Items, int]:
        """A shard's entry, the items that are kept, and the bytes of a trajectory."""


def fill(
    folder: Path, maker: Maker, progress: bool = True, during: Sequence[AbstractContextManager[Any]] = ()
) -> Index:
    """Make what a folder lacks, and this process's share of it where several are at work.

    Args:
        folder: of the collection; made where it is missing.
        maker: of its shards.
        progress: show a bar.
        during: contexts that are open while shards are made.

    Raises:
        CollectionError: for a folder of another collection or in use, and for a full disk.
    """
    team = Shard.of_this_process() or Shard(0, 1)
    with ExitStack() as stack:
        stack.enter_context(_claimed(folder, team))
        index = Index(folder)
        with _room(index):
            index.agree(maker.describe())
        for context in during:
            stack.enter_context(context)
        own = [number for number in range(maker.shards) if team.owns(number)]
        for number in track(own, description="collecting", disable=not progress):
            wanted = len(maker.numbers(number, index.trajectory_bytes))
            known = index.shards.get(number)
            if not wanted or (known and len(known.trajectories) == wanted and known.is_whole(folder)):
                continue
            entry, items, taken = maker.make(number, index.trajectory_bytes)
            index.trajectory_bytes = index.trajectory_bytes or taken
            if entry.trajectories:  # of the first one alone it shows while it is made that the bound cuts it
                with _room(index):
                    index.add(write_shard(folder, entry, items), index.trajectory_bytes)
    return index


@contextmanager
def _room(index: Index) -> Iterator[None]:
    """Let a full disk say what stands.

    Raises:
        CollectionError: where a block cannot write.
    """
    try:
        yield
    except OSError as error:
        raise CollectionError(
            f"{index.folder} takes no more ({error.strerror}); its {len(index.shards)} shards can be read: free some "
            "space and run the same again, which goes on from there"
        ) from error


@contextmanager
def _claimed(folder: Path, team: Shard) -> Iterator[None]:
    """Keep a share of a folder to this process.

    Raises:
        CollectionError: where it cannot be written to, or another run is at work.
    """
    own = FileLock(folder / f".lock.{team.name}", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with held(folder):
            busy = [name for name in busy_shards(folder, but=team) if not name.endswith(f"-of-{team.size}")]
            if busy:
                raise Timeout(own.lock_file)
            own.acquire()
    except Timeout:
        raise CollectionError(
            f"another run is collecting to {folder}; wait for its end or name another folder"
        ) from None
    except OSError as error:
        raise CollectionError(f"cannot write to {folder} ({error.strerror}); name another folder") from error
    try:
        yield
    finally:
        own.release()
