"""What one row of a pipeline's call starts from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from ..samplers.strategies.node import Turn


@dataclass(frozen=True, eq=False)
class Row:
    """One picture or clip of a call.

    Attributes:
        condition: its prompt, or its class label; None where `prompt_embeds` are among the call's arguments.
        seed: the pipeline's own noise for this seed is where it begins.
        turns: moves of that noise.
        noise_key: of the noise of its steps, where the pipeline hands no generator on to its scheduler.
        latents: what it begins with instead of the noise, in the form of the pipeline's steps, without the batch; all
            rows of a call have some, or none has.
    """

    condition: str | int | None
    seed: int
    turns: tuple[Turn, ...] = ()
    noise_key: int = 0
    latents: Tensor | None = None

    @classmethod
    def draws(cls, condition: str | int | None, seeds: Iterable[int]) -> list[Row]:
        """One row per seed, all of one condition."""
        return [cls(condition, seed) for seed in seeds]
