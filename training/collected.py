"""What `collect` leaves on disk: shards of guided steps in safetensors, and the index that says which are whole.

A shard is written beside its place and moved there when it has reached the disk, then its name, size and hash enter
`index.json` in the same way: whoever is killed leaves shards that the index knows, or that are made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ..foreign_errors import in_one_sentence
from ..pipelines.search.records import write_atomically
from ..pipelines.search.run_description import differences
from ..pipelines.search.shards import held
from ..valid_json import to_json

INDEX = "index.json"


class CollectionError(ValueError):
    """A folder cannot be collected to, or read; the message says why, and what to do."""


@dataclass(frozen=True)
class Trajectory:
    """One run of the pipeline.

    Attributes:
        prompt: its index among the prompts.
        seed: of its noise.
        kept: whether its steps are in the shard.
        score: the verifier's of its picture; None without a verifier, or where it has none.
    """

    prompt: int
    seed: int
    kept: bool
    score: float | None = None


@dataclass(frozen=True)
class ShardEntry:
    """A shard as the index knows it.

    Attributes:
        number: its place among the shards.
        trajectories: all that were run for it, in their order; those that were not kept too.
        items: steps that it holds.
        size: bytes of its file; 0 where nothing was kept and there is none.
        sha256: of its file.
    """

    number: int
    trajectories: tuple[Trajectory, ...]
    items: int = 0
    size: int = 0
    sha256: str = ""

    @property
    def name(self) -> str:
        """Of its file."""
        return f"shard-{self.number:05d}.safetensors"

    def is_whole(self, folder: Path) -> bool:
        """Whether its file holds what was written."""
        if not self.items:
            return True
        file = folder / self.name
        if not file.is_file() or file.stat().st_size != self.size:
            return False
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest() == self.sha256

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ShardEntry:
        trajectories = tuple(Trajectory(**one) for one in value["trajectories"])
        return cls(**{**value, "trajectories": trajectories})


class Index:
    """`index.json` of a folder, which several processes write to in turn.

    Args:
        folder: of the collection.

    Raises:
        CollectionError: for a folder whose index cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder, self.file = folder, folder / INDEX
        self.run: dict[str, Any] | None = None
        self.trajectory_bytes = 0
        self.shards: dict[int, ShardEntry] = {}
        self._read()

    def _read(self) -> None:
        if not self.file.exists():
            return
        try:
            text = json.loads(self.file.read_text())
            entries = [ShardEntry.from_json(one) for one in text["shards"]]
            self.run, self.trajectory_bytes = dict(text["run"]), int(text["trajectory_bytes"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CollectionError(f"{self.file} is no index of a collection; name another folder") from error
        self.shards = {entry.number: entry for entry in entries}

    def agree(self, run: Mapping[str, Any]) -> None:
        """Go on with a run of this description.

        Raises:
            CollectionError: where the folder holds another one, naming the differences.
        """
        with held(self.folder):
            self._read()
            now = json.loads(to_json(dict(run)))
            if self.run is None:
                self.run = now
                self._write()
            if changes := differences(self.run, now):
                raise CollectionError(
                    f"{self.folder} holds another collection ({'; '.join(changes)}); name another folder"
                )

    def add(self, entry: ShardEntry, trajectory_bytes: int) -> None:
        """Let the index know a shard whose file is written; what other processes added stays."""
        with held(self.folder):
            self._read()
            self.shards[entry.number] = entry
            self.trajectory_bytes = trajectory_bytes
            self._write()

    def _write(self) -> None:
        """In one move; raises OSError where the disk does not take it."""
        shards = [asdict(self.shards[number]) for number in sorted(self.shards)]
        text = {"run": self.run, "trajectory_bytes": self.trajectory_bytes, "shards": shards}
        write_atomically(self.file, to_json(text, indent=1) + "\n")


@dataclass(frozen=True)
class Items:
    """Guided steps, (items, ...) each.

    Attributes:
        unconditional: u, the denoiser's prediction without the prompt, (items, channels, height, width) or what its
            predictions look like else; of an autoregressive model log-probabilities, (items, vocab).
        conditional: c, of the same shape.
        sample: x_t as the denoiser got it; of an autoregressive model the tokens that are seen, (items, length).
        timestep: as it got it, float32 (items,); the position of a token.
        step: number of the model call in its run, from 0, (items,).
        trajectory: number of the run, within its shard or among all, (items,).
        condition: the pooled prompt, (items, width); None where the denoiser has none.
    """

    unconditional: Tensor
    conditional: Tensor
    sample: Tensor
    timestep: Tensor
    step: Tensor
    trajectory: Tensor
    condition: Tensor | None = None

    def __len__(self) -> int:
        return len(self.step)

    def tensors(self) -> dict[str, Tensor]:
        """By name, without those that are not there."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value.contiguous() for name, value in values.items() if value is not None}

    def __getitem__(self, rows: Tensor) -> Items:
        """Those of some rows: indices, or whether each is among them."""
        return Items(**{name: value[rows] for name, value in self.tensors().items()})

    @classmethod
    def joined(cls, parts: Sequence[Items]) -> Items:
        """All of several."""
        tensors = [part.tensors() for part in parts]
        return cls(**{name: torch.cat([one[name] for one in tensors]) for name in tensors[0]})

    def is_finite(self) -> Tensor:
        """Whether all of an item is, (items,)."""
        tensors = [one.flatten(1) for one in self.tensors().values() if one.ndim > 1]
        return torch.stack([torch.isfinite(one).all(1) for one in tensors]).all(0)

    def guided(self, scale: Tensor | float) -> Tensor:
        """u + w (c - u) in float32.

        Args:
            scale: w, a number or one for each item.
        """
        wide = torch.as_tensor(scale, device=self.sample.device).float().reshape(-1, *[1] * (self.conditional.ndim - 1))
        u, c = self.unconditional.float(), self.conditional.float()
        return u + wide * (c - u)


def write_shard(folder: Path, entry: ShardEntry, items: Items | None) -> ShardEntry:
    """Write a shard's file; returns its entry with what the index keeps of the file.

    Args:
        folder: of the collection.
        entry: with its number and trajectories.
        items: None where no trajectory was kept, and no file is written.

    Raises:
        OSError: where the disk is full or refuses; then no part of the file is left.
    """
    file = folder / entry.name
    if items is None or not len(items):
        file.unlink(missing_ok=True)
        return entry
    data = save(items.tensors())
    part = file.with_suffix(".part")
    try:
        with part.open("wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(part, file)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return replace(entry, items=len(items), size=len(data), sha256=hashlib.sha256(data).hexdigest())


class Collected:
    """A collection on disk, read as it is asked for: shards are mapped into memory, not loaded.

    Args:
        folder: that `collect` left, finished or not.

    Attributes:
        prompt: index of the prompt of each item, (items,).
        trajectory: number of the run of each item, among all, (items,).
        step: number of the model call of each item, (items,).
        timestep: as the denoiser got it, float32 (items,).

    Raises:
        CollectionError: for a folder that holds no items, or damaged shards.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.index = Index(self.folder)
        entries = [entry for _, entry in sorted(self.index.shards.items()) if entry.items]
        if not entries:
            raise CollectionError(f"{self.folder} holds no collected steps; `samplesmith collect` writes some")
        if damaged := [entry.name for entry in entries if not entry.is_whole(self.folder)]:
            raise CollectionError(
                f"{', '.join(damaged)} in {self.folder} is missing or damaged; the same `collect` again mends it"
            )
        with in_one_sentence(f"the shards in {self.folder} cannot be read"):
            self._shards = [Items(**load_file(self.folder / entry.name)) for entry in entries]
        self._place = torch.tensor([(k, row) for k, one in enumerate(self._shards) for row in range(len(one))])
        prompts = [torch.tensor([one.prompt for one in entry.trajectories]) for entry in entries]
        self.prompt = torch.cat(
            [known[one.trajectory.long()] for known, one in zip(prompts, self._shards, strict=True)]
        )
        before = torch.tensor([0, *(len(entry.trajectories) for entry in entries)]).cumsum(0)
        self.trajectory = torch.cat([k + one.trajectory for k, one in zip(before, self._shards, strict=False)])
        self.step = torch.cat([one.step for one in self._shards])
        self.timestep = torch.cat([one.timestep for one in self._shards])

    def __len__(self) -> int:
        return len(self.step)

    def take(self, rows: Tensor) -> Items:
        """Items by their indices, in that order, in float32.

        Args:
            rows: whole numbers in [0, len), (count,).
        """
        parts = [self._shards[k][torch.tensor([row])] for k, row in self._place[rows].tolist()]
        found = Items.joined(parts)
        return replace(found, **{name: one.float() for name, one in found.tensors().items() if one.is_floating_point()})

    def content(self) -> dict[str, Any]:
        """What tells this collection from others, as JSON."""
        entries = [entry.sha256 for _, entry in sorted(self.index.shards.items())]
        return {"items": len(self), "sha256": hashlib.sha256(" ".join(entries).encode()).hexdigest()[:16]}
