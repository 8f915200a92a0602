"""Threshold: a step is left as soon as a candidate is good for that step.

Ours, after the idea of Verifier-Threshold (arXiv 2512.08985), whose thresholds were not to be had: this is no
reproduction of it. A candidate is compared with what scores of *its* step are like, so the drift of x0-hat's score from
step to step, by which rollover budget forcing accepts nearly every first candidate, does not matter. The bar of a step
is a quantile of the scores that a calibration has measured there; without one, of those that this search has seen at
the step, once there are some.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from .quantiles import quantile_at
from .rounds import Rounds
from .stepwise import check_at_least


class Threshold(Rounds):
    """One candidate after the other, until one passes the bar of the step; the best so far where none does.

    Args:
        share: of a step's scores that lie below its bar, in (0, 1).
        cap: candidates per step, at most; None for an even part of what is left, so that what one step does not need
            is spread over all later ones.
        seen: scores of a step from which its bar is taken where no calibration knows it, at least.
        first_scored: the step of the first choice, among initial noises.

    Raises:
        ValueError: for settings outside of their ranges.
    """

    name = "threshold"
    at_once: ClassVar[int | None] = 1

    def __init__(self, share: float = 0.8, cap: int | None = None, seen: int = 4, first_scored: int | None = None):
        check_at_least(1, cap=cap, seen=seen, first_scored=first_scored)
        if not 0 < share < 1:
            raise ValueError(f"share is {share}; give more than 0 and less than 1")
        self.share, self.cap, self.seen, self.first_scored = share, cap, seen, first_scored

    def most(self) -> int:
        if self.cap is not None:
            return self.cap
        costs = self.costs() or [1]
        before = self.remaining + len(self.here) * costs[self.level]
        return before // sum(costs[self.level :])

    def settled(self, score: float) -> bool:
        if self.quantiles is not None:
            return score > quantile_at(self.quantiles, self.step_of(self.level), self.share)
        earlier = [one for _, one in self.here[:-1] if math.isfinite(one)]
        return len(earlier) >= self.seen and score > float(np.quantile(earlier, self.share))
