"""CoRe²'s collect phase: what a pipeline's denoiser predicts in guided runs, step by step, on disk.

CoRe² (Shao et al., arXiv 2503.09662): from u, c and x_t of each step the guided prediction u + w (c - u) can be formed
at any w, so that a weak model is trained without another forward. The pipeline is unmodified, and its pictures are
those of a plain run.

Seam: a rule of `samplers/hooks` that changes nothing and looks at both predictions, so every layout that guidance hooks
know can be collected. Cost: the pipeline's own runs, 2 NFEs for each row and step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch

from ..pipelines.call import PipelineCall, encode_once, quiet
from ..pipelines.clip import as_picture
from ..pipelines.row import Row
from ..pipelines.search.run_description import describe, describe_model
from ..samplers.hooks.guidance_hook import apply_rules
from ..verifiers import Verifier
from .collected import Index, Items, ShardEntry, Trajectory
from .recorded_steps import Recorder
from .shard_run import fill


@dataclass(frozen=True)
class CollectSettings:
    """
    What is collected. Trajectory n has prompt n % (number of prompts) and the seed `seed + n`.

    Attributes:
        draws: trajectories for each prompt.
        keep_steps: steps kept of each trajectory, one drawn from each of as many equal parts of its run; None: all.
        max_gb: bound of what is written, in 10^9 bytes, as if no trajectory were rejected; it cuts draws before
            prompts.
        min_score: trajectories whose picture scores less are rejected; it takes a verifier.
        seed: of trajectory 0.
        batch_size: trajectories in one call of the pipeline, and in one shard: what a killed run loses at most.
        dtype: of what is stored.
        layout: as in `WeakToStrongConfig`.

    Raises:
        ValueError: for a number out of its range.
    """

    draws: int = 1
    keep_steps: int | None = None
    max_gb: float = 4.0
    min_score: float | None = None
    seed: int = 0
    batch_size: int = 8
    dtype: torch.dtype = torch.float16
    layout: str | None = None

    def __post_init__(self) -> None:
        counts = {"draws": self.draws, "batch_size": self.batch_size}
        counts |= {} if self.keep_steps is None else {"keep_steps": self.keep_steps}
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name} is {value}; give a whole number of at least 1")
        if not self.max_gb > 0:
            raise ValueError(f"max_gb is {self.max_gb:g}; give a number above 0")
        if not self.dtype.is_floating_point:
            raise ValueError(f"dtype is {self.dtype}; give a floating-point one")

    def describe(self) -> dict[str, Any]:
        """What a folder's run cannot change; the extent (`draws`, `max_gb`) may grow."""
        return {
            "keep_steps": self.keep_steps,
            "min_score": self.min_score,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "stored": str(self.dtype),
        }

    def shards(self, prompts: int) -> int:
        """How many shards there are of so many prompts, without a bound."""
        return -(-self.draws * prompts // self.batch_size)

    def numbers(self, prompts: int, shard: int, trajectory_bytes: int) -> range:
        """The trajectories of a shard.

        Args:
            prompts: how many.
            shard: its number.
            trajectory_bytes: what each takes on disk; 0 while that is not known.
        """
        total = self.draws * prompts
        if trajectory_bytes:
            total = min(total, int(self.max_gb * 1e9 / trajectory_bytes))
        start = shard * self.batch_size
        return range(start, min(start + self.batch_size, total))


def collect(
    pipe: Any,
    prompts: Sequence[str | int],
    folder: str | Path,
    settings: CollectSettings | None = None,
    verifier: Verifier | None = None,
    progress: bool = True,
    **pipeline_kwargs: Any,
) -> Index:
    """
    Run a pipeline over prompts, and keep what its denoiser predicts in guided steps.

    The same call again goes on: whole shards stay, missing and damaged ones are collected. Several processes (torchrun,
    accelerate) share the shards out, and leave the items that one would.

    Args:
        pipe: a diffusers pipeline whose guidance `apply_weak_to_strong` knows, called with its guidance on.
        prompts: texts or class labels; none on which a weak model is to be measured.
        folder: for shards and `index.json`.
        settings: how many, and which steps of them.
        verifier: scores each trajectory's picture; with `min_score`.
        progress: show a bar.
        pipeline_kwargs: of each call.

    Returns:
        the index; of a share of several, what is there so far.

    Raises:
        CollectionError: for a folder of another collection or in use, and for a full disk; what was written before can
            be read, and the same call goes on from it.
        ValueError: for bad arguments, and a pipeline or a call that does not guide by two predictions.
    """
    settings, folder, prompts = settings or CollectSettings(), Path(folder), list(prompts)
    if not prompts:
        raise ValueError("there are no prompts to collect from")
    if (verifier is None) != (settings.min_score is None):
        raise ValueError("a verifier and min_score reject trajectories together; give both, or neither")
    return fill(
        folder, _Maker(pipe, prompts, settings, verifier, pipeline_kwargs), progress, [quiet(pipe), encode_once(pipe)]
    )


class _Maker:
    """Makes shards: which trajectories they hold, and what is kept of them."""

    def __init__(
        self,
        pipe: Any,
        prompts: list[str | int],
        settings: CollectSettings,
        verifier: Verifier | None,
        arguments: dict[str, Any],
    ):
        self.pipe, self.prompts, self.settings, self.verifier = pipe, prompts, settings, verifier
        self.call = PipelineCall(pipe, arguments)

    @property
    def shards(self) -> int:
        return self.settings.shards(len(self.prompts))

    def describe(self) -> dict[str, Any]:
        """The run, for its folder."""
        return {
            **describe_model(self.pipe),
            **self.settings.describe(),
            "arguments": describe(self.call.arguments),
            "prompts": hashlib.sha256(repr(self.prompts).encode()).hexdigest()[:16],
            "verifier": None if self.verifier is None else self.verifier.identity(),
        }

    def numbers(self, shard: int, trajectory_bytes: int) -> range:
        return self.settings.numbers(len(self.prompts), shard, trajectory_bytes)

    def make(self, shard: int, trajectory_bytes: int) -> tuple[ShardEntry, Items, int]:
        """Run a shard's trajectories: its entry, the items that are kept, and the bytes of a trajectory.

        Raises:
            ValueError: where nothing is guided, or a trajectory alone is more than the bound.
        """
        rows = [self._row(number) for number in self.numbers(shard, trajectory_bytes)]
        items, pictures, usable = self._run(rows)
        taken = sum(one.nbytes for one in items.tensors().values()) // len(rows)
        numbers = self.numbers(shard, trajectory_bytes or taken)  # the first shard is what shows it
        if not numbers and shard == 0:
            raise ValueError(
                f"a trajectory takes {taken / 1e9:.3g} GB and the bound is {self.settings.max_gb:g}; give more "
                "(max_gb), or keep fewer steps"
            )
        scores = self._scores(rows, pictures)
        trajectories = tuple(
            Trajectory(number % len(self.prompts), rows[k].seed, usable[k] and self._is_good(scores[k]), scores[k])
            for k, number in enumerate(numbers)
        )
        kept = torch.tensor([one.kept for one in trajectories] + [False] * (len(rows) - len(numbers)))
        return ShardEntry(shard, trajectories), items[kept[items.trajectory.long()]], taken

    def _row(self, number: int) -> Row:
        return Row(self.prompts[number % len(self.prompts)], self.settings.seed + number)

    def _run(self, rows: list[Row]) -> tuple[Items, list[Any], list[bool]]:
        """The steps of trajectories, their pictures, and whether both are finite."""
        together = len(rows) == 1 or self.call.makes_rows([row.condition for row in rows])
        parts = [rows] if together else [[row] for row in rows]
        found: list[Items] = []
        pictures: list[Any] = []
        usable: list[bool] = []
        for part in parts:
            recorder = Recorder(self.settings.keep_steps, [row.seed for row in part], self.settings.dtype)
            applied = apply_rules(self.pipe, "collect", recorder.rule, [], self.settings.layout, None)
            try:
                pixels, good = self.call(part)
            finally:
                applied.remove()
            items = recorder.items()
            finite = [bool(items.is_finite()[items.trajectory == k].all()) for k in range(len(part))]
            found.append(replace(items, trajectory=items.trajectory + len(usable)))
            pictures += [as_picture(one) for one in pixels]
            usable += [one and other for one, other in zip(good, finite, strict=True)]
        return Items.joined(found), pictures, usable

    def _scores(self, rows: list[Row], pictures: list[Any]) -> list[float | None]:
        if self.verifier is None:
            return [None] * len(rows)
        scores = self.verifier(pictures, [str(row.condition) for row in rows]).tolist()
        return [score if isfinite(score) else None for score in scores]

    def _is_good(self, score: float | None) -> bool:
        least = self.settings.min_score
        return least is None or (score is not None and score >= least)
