"""Learning-rate schedules: pure functions of how far a run is, each a factor of the optimiser's own learning rate.

A run counts images, never minutes, so that a slower machine trains the same model. Factors multiply:
`warm_up(progress, 19_200) * linear_decay(progress, 0.4)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        images: that were seen.
        batch: images of one step, those of all processes and accumulated parts together.
        total: images where the run ends.
    """

    images: int
    batch: int
    total: int

    @property
    def step(self) -> int:
        """Optimiser steps that were made."""
        return self.images // self.batch

    @property
    def share(self) -> float:
        """In [0, 1]; 1 where the run has ended."""
        return min(1.0, self.images / self.total)

    def at(self, step: int) -> Progress:
        """The same run after `step` steps."""
        return Progress(step * self.batch, self.batch, self.total)


Schedule = Callable[[Progress], float]


def constant(progress: Progress) -> float:
    """1."""
    return 1.0


def warm_up(progress: Progress, images: int) -> float:
    """From one step's part up to 1, linearly over that many images; then 1."""
    return min(1.0, (progress.images + progress.batch) / images)


def linear_decay(progress: Progress, last: float, least: float = 0.0) -> float:
    """1, and over the last share of the run (in (0, 1]) linearly down to `least`, which is added to the line."""
    return min(1.0, (1 - progress.share) / last + least)


def cosine(progress: Progress) -> float:
    """From 1 to 0, half a period of the cosine (Loshchilov and Hutter, arXiv 1608.03983, eq. 5, without restarts)."""
    return 0.5 + 0.5 * math.cos(math.pi * progress.share)
