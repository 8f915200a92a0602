"""The scores of a group's rows as inner products: all that operators, estimators and weights need to know of them.

Scores come in units of 1 / s, where they are zeta = -eps: of the order of one per element at every noise level. What
tells the rows apart is small beside what they share (a part in a thousand, in high dimensions), so each is held as its
deviation from the prompts' mean, and no difference is ever taken of two large sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .steps import Step

SAMPLE, MEAN, FIRST_ROW = 0, 1, 2
"""Places in the basis: the sample over sigma, the prompts' mean score, the rows' deviations from it; noise is last."""


@dataclass(frozen=True, eq=False)
class Scores:
    """Inner products of a basis in which every score of a superposition is a short vector of coordinates.

    Attributes:
        gram: (groups, size, size), float32 or float64.
        rows: per group.
        prompts: how many of the rows, the last ones, are superposed; the one before them is the reference, what
            guidance starts from and what NOT is relative to (the unconditional row).
        elements: of a sample.
    """

    gram: Tensor
    rows: int
    prompts: int
    elements: int

    @classmethod
    def measured(
        cls, x0: Tensor, eps: Tensor, sample: Tensor, noise: Tensor | None, prompts: int, step: Step
    ) -> Scores:
        """Measure the rows of each group.

        Args:
            x0, eps: predictions of each row, (groups, rows, ...).
            sample: at which they were made, (groups, ...).
            noise: standard normal, that the step adds, (groups, ...); None for none.
            prompts: rows that are superposed, the last ones.
            step: that is made from here.
        """
        groups, rows = eps.shape[:2]
        if step.ratio <= 1:  # both forms are the same; each is exact at its end of the path
            zeta = -eps.flatten(2)
            mean = zeta[:, rows - prompts :].mean(1, keepdim=True)
            deviations = zeta - mean
        else:
            clean = x0.flatten(2)
            deviations = (clean - clean[:, rows - prompts :].mean(1, keepdim=True)) / step.ratio
            mean = -eps[:, rows - prompts :].flatten(2).mean(1, keepdim=True)
        here = (sample / step.sigma).reshape(groups, 1, -1)
        drawn = torch.zeros_like(here) if noise is None else noise.reshape(groups, 1, -1)
        basis = torch.cat([here, mean, deviations, drawn.to(mean)], 1)
        return cls(basis @ basis.mT, rows, prompts, basis.shape[2])

    @property
    def noise(self) -> int:
        """Place of the step's noise in the basis."""
        return FIRST_ROW + self.rows

    @property
    def differences(self) -> Tensor:
        """Inner products of the rows' deviations from the prompts' mean, (groups, rows, rows)."""
        return self.gram[:, FIRST_ROW : self.noise, FIRST_ROW : self.noise]

    @property
    def has_reference(self) -> bool:
        """Whether a row stands before the prompts."""
        return self.rows > self.prompts

    def row(self, number: int) -> Tensor:
        """Coordinates of a row's score, (groups, size); -1 is the last prompt's."""
        coordinates = torch.zeros_like(self.gram[:, 0])
        coordinates[:, MEAN] = 1
        coordinates[:, FIRST_ROW + number % self.rows] = 1
        return coordinates

    def inner(self, one: Tensor, other: Tensor) -> Tensor:
        """Inner products of vectors given by their coordinates, (groups, vectors, size) each: (groups, vectors)."""
        return ((one @ self.gram) * other).sum(-1)

    def row_weights(self, coordinates: Tensor) -> Tensor:
        """The factors of the rows in a score that was put together of them, (groups, rows)."""
        return coordinates[:, FIRST_ROW : self.noise]
