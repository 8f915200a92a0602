"""SVDD-PM, soft value-based decoding by the reward of x0-hat (Li et al., arXiv 2408.08252).

From x_t, M candidates x'_m ~ p(x' | x_t); one goes on, drawn with probability proportional to exp(v(x'_m) / alpha),
where v(x) = r(x0-hat(x)). At alpha = 0, the default here, it is the best of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .rounds import Siblings
from .stepwise import check_at_least


class Svdd(Siblings):
    """Several children of one node at each step; one of them goes on.

    Args:
        children: candidates of each step (M); None for as many as the budget pays alike at all steps. What is over
            is spent on the last step.
        temperature: alpha, in the score's unit, at least 0; 0 takes the best.
        draws: initial noises, of which one goes on by the same rule; 1 is the paper's.
        first_scored: the step of the first choice; before it noise is drawn, not chosen.

    Raises:
        ValueError: for settings outside of their ranges.
    """

    name = "svdd"

    def __init__(
        self,
        children: int | None = None,
        temperature: float = 0.0,
        draws: int = 1,
        first_scored: int | None = None,
    ):
        check_at_least(1, children=children, draws=draws, first_scored=first_scored)
        check_at_least(0, temperature=temperature)
        self.children, self.temperature, self.draws = children, temperature, draws
        self.first_scored = first_scored

    def survivors(self, scores: Sequence[float]) -> list[int]:
        if self.temperature == 0 or not any(map(math.isfinite, scores)):
            return super().survivors(scores)
        values = np.asarray(scores)
        weights = np.exp((values - values.max()) / self.temperature)
        return [int(self.generator(self.level).choice(len(scores), p=weights / weights.sum()))]
