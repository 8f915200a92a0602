"""RBF, rollover budget forcing (Kim et al., arXiv 2503.19385), for flows made stochastic and for diffusion.

Candidates of a step are tried one at a time. The first whose clean prediction beats the incumbent, the score of the
candidate that was taken before it, is taken, and what is left of the step's quota rolls over to the next one: q_(i+1) =
q + (q_i - used). Where none does, the step's best is taken, and the next quota is q. The authors' settings:
FLUX.1-schnell, 500 NFEs, 10 steps, 25 initial noises of which the best is the first incumbent, q = (500 - 25) / 10;
from the step before the last all NFEs that are left are spent on candidates of the same sample.

Two things are ours. The answer is the best *finished* image, which in a flow is the last step's clean prediction. And
`accept="calibrated"` compares with what a step gains: x0-hat's score rises from step to step whatever is drawn, so on
models that are not distilled the first candidate nearly always beats the incumbent of the step before.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from .quantiles import quantile_at
from .rounds import Rounds
from .stepwise import check_at_least


class Rbf(Rounds):
    """One candidate after the other; what a step does not need the next one has.

    Args:
        quota: candidates per step before any rolls over (q); None for the budget without the warm-up, divided by the
            number of steps.
        warm_up: initial noises, as many of them as the budget lets one finish.
        accept: "paper" takes a candidate above the incumbent; "calibrated" one above the incumbent and the gain of the
            step, by the medians of a calibration.
        first_scored: the step at which initial noises are compared; later ones are forced.

    Raises:
        ValueError: for settings outside of their ranges.
    """

    name = "rbf"
    at_once: ClassVar[int | None] = 1

    incumbent: float
    rolled: int
    """Candidates that the steps before have left."""

    def __init__(
        self,
        quota: int | None = None,
        warm_up: int = 25,
        accept: Literal["paper", "calibrated"] = "paper",
        first_scored: int | None = None,
    ):
        check_at_least(1, quota=quota, warm_up=warm_up, first_scored=first_scored)
        if accept not in ("paper", "calibrated"):
            raise ValueError(f"accept is {accept!r}; give 'paper' or 'calibrated'")
        self.quota, self.warm_up, self.accept, self.first_scored = quota, warm_up, accept, first_scored

    def begin(self) -> None:
        super().begin()
        if self.accept == "calibrated" and self.quantiles is None:
            raise ValueError(
                "rbf with accept='calibrated' compares with the gain of each step, which a calibration with quantiles "
                "knows; calibrate, or use accept='paper'"
            )
        self.incumbent, self.rolled = float("-inf"), 0

    def most(self) -> int:
        first, *later = self.costs() or [1]
        warm_up = min(self.warm_up, (self.total - sum(later)) // first)
        if self.level == 0:
            return warm_up
        if self.quota is not None:
            return self.quota + self.rolled
        return max(1, (self.total - max(1, warm_up) * first) // (len(self.legs) * max(later))) + self.rolled

    def settled(self, score: float) -> bool:
        return self.level > 0 and score > self.incumbent + self._gain()

    def _gain(self) -> float:
        """What a candidate is expected to gain from the level before to this one."""
        if self.accept == "paper" or self.quantiles is None:
            return 0.0
        before, here = (quantile_at(self.quantiles, self.step_of(level), 0.5) for level in (self.level - 1, self.level))
        return here - before

    def leave(self, score: float, settled: bool) -> None:
        self.rolled = max(0, self.most() - len(self.here)) if settled else 0
        self.incumbent = score
