"""What an operator knows when it chooses the weights of the scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .combination import Combination
from .scores import Scores
from .steps import Step


@dataclass(frozen=True, eq=False)
class Situation:
    """One model call of all groups.

    Attributes:
        scores: of the rows.
        densities: log-densities of the rows but for a common summand, (groups, rows).
        step: that will be made.
        gain: of the estimator in that step (`DensityEstimator.gain`).
        guidance_scale: by which the combination is taken beyond the reference's score.
    """

    scores: Scores
    densities: Tensor
    step: Step
    gain: float = 1.0
    guidance_scale: float = 1.0

    @property
    def relative(self) -> Tensor:
        """Log-densities of the prompts, (groups, prompts)."""
        return self.densities[:, self.scores.rows - self.scores.prompts :]

    def prompts(self, shifts: Sequence[float] | None = None) -> list[Combination]:
        """The density of each prompt, its logarithm shifted by what is given for each."""
        first, known = self.scores.rows - self.scores.prompts, self.relative
        added = shifts or (0.0,) * self.scores.prompts
        return [Combination.of_row(self.scores, first + k, known[:, k] + shift) for k, shift in enumerate(added)]

    def reference(self) -> Combination | None:
        """The density of the reference row, where there is one."""
        if not self.scores.has_reference:
            return None
        row = self.scores.rows - self.scores.prompts - 1
        return Combination.of_row(self.scores, row, self.densities[:, row])
