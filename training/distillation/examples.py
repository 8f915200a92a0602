"""What students learn on: clean samples with conditions, drawn by generators that are passed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from .denoiser import Condition


class Source(Protocol):
    """Generators: a training loop, or `Randomness` of a seed of its own."""

    @property
    def rng(self) -> np.random.Generator: ...

    @property
    def generator(self) -> torch.Generator: ...


class Drawn(NamedTuple):
    """A batch of examples.

    Attributes:
        x0: clean samples, (batch, ...).
        condition: of the rows.
        noise: of which the teacher's ODE made the samples, of their shape; None where they are no such ends.
    """

    x0: Tensor
    condition: Condition
    noise: Tensor | None = None


class Data(Protocol):
    """Where batches come from."""

    def draw(self, source: Source, count: int) -> Drawn:
        """A batch, drawn by nothing but the source."""
        ...

    def null(self, count: int) -> Condition | None:
        """The condition that says nothing, for as many rows; None where the teacher has none."""
        ...


@dataclass(frozen=True)
class Examples:
    """Examples that are kept whole.

    Attributes:
        x0: clean samples, (n, ...).
        condition: of each, (n, ...).
        nothing: the condition that says nothing, (1, ...); None where the teacher has none.
        noise: of each sample's start on the teacher's ODE, where they are its ends.
    """

    x0: Tensor
    condition: Condition
    nothing: Condition | None = None
    noise: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x0)

    def subset(self, rows: Sequence[int]) -> Examples:
        """Some of the examples.

        Raises:
            ValueError: for none.
        """
        if not rows:
            raise ValueError("the student's subset holds no example; give data of its conditions")
        chosen = torch.as_tensor(list(rows))
        picked = {name: value[chosen] for name, value in self.condition.items()}
        noise = None if self.noise is None else self.noise[chosen]
        return Examples(self.x0[chosen], picked, self.nothing, noise)

    def draw(self, source: Source, count: int) -> Drawn:
        rows = torch.randint(len(self), (count,), generator=source.generator)
        condition = {name: value[rows] for name, value in self.condition.items()}
        return Drawn(self.x0[rows].float(), condition, None if self.noise is None else self.noise[rows].float())

    def null(self, count: int) -> Condition | None:
        if self.nothing is None:
            return None
        return {name: value.expand(count, *value.shape[1:]) for name, value in self.nothing.items()}
