"""How likely each model finds the sample, estimated along the way with no divergence and no further model call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from .ito import Ito
from .rne import RadonNikodym
from .scores import Scores
from .steps import Step


class DensityEstimator(Protocol):
    """An estimate of how the log-densities change in a step, from the scores at its start and the noise it adds."""

    def gain(self, step: Step) -> float:
        """Factor by which the difference of two log-densities changes more than in Ito's sum."""

    def change(self, scores: Scores, score: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """What the step adds to each row's log-density.

        Args:
            scores: of the rows, measured with the step's noise.
            score: that the step is made with, in the basis of `scores`, (groups, size); any, guided ones too.
            step: a tracked one.

        Returns:
            what is added to all rows of a group, (groups,), and to each beside it, (groups, rows).
        """


ESTIMATORS: dict[str, Callable[..., DensityEstimator]] = {"rne": RadonNikodym, "ito": Ito}
"""Estimators by name, each called with its settings."""


@dataclass(frozen=True, eq=False)
class LogDensities:
    """Accumulated log-densities, held apart so that float32 keeps what tells the rows apart.

    Attributes:
        common: of all rows, (groups,); the absolute value hangs on it.
        relative: of each row beside it, (groups, rows); all that operators use.
    """

    common: Tensor
    relative: Tensor

    @classmethod
    def equal(cls, scores: Scores) -> LogDensities:
        """All zero, as at the noise end, which models share."""
        groups = scores.gram[:, 0, 0]
        return cls(groups.new_zeros(len(groups)), groups.new_zeros(len(groups), scores.rows))

    def after(self, change: tuple[Tensor, Tensor]) -> LogDensities:
        """With what a step adds."""
        return LogDensities(self.common + change[0], self.relative + change[1])

    def taken(self, ancestors: Tensor) -> LogDensities:
        """Of the groups that go on."""
        return LogDensities(self.common[ancestors], self.relative[ancestors])
