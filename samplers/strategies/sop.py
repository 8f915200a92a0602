"""SoP, search over paths (Ma et al., arXiv 2501.09732): the best samples go back by noise, and come again.

N initial noises are carried to a step in the midst of the run. Each round takes each of the N samples back to a noisier
time by fresh noise, in M ways, carries those on past where the sample stood, scores the clean predictions there, and
keeps the N best; the last round's are finished. With Delta_f back and Delta_b on, Delta_b must be larger, or nothing is
gained. The paper names no numbers for N and M beyond "small"; Kim et al. (arXiv 2503.19385) go from t = 0.12 back by
0.78 and on by 0.81.

It needs no stochastic steps: the noise is that of the way back (`Renoise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from .budget import Steps
from .needs import Need
from .node import Node, Noise, Renoise
from .rounds import Rounds
from .stepwise import check_at_least


class Sop(Rounds):
    """Rounds of steps back by noise and steps on, from the best samples of the round before.

    Args:
        paths: samples that are kept from round to round (N), as many of them as the budget finishes.
        children: ways back from each (M); None for as many as the budget pays alike in all rounds. What is over is
            spent in the last.
        back: steps towards noise in each round (Delta_f).
        on: steps from there (Delta_b), more than `back`.
        first_scored: the step at which the initial noises are scored first; None for the middle.

    Raises:
        ValueError: for settings outside of their ranges.
    """

    name = "sop"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.PAUSES, Need.RUNNING_SCORES})

    def __init__(
        self,
        paths: int = 2,
        children: int | None = None,
        back: int = 2,
        on: int = 4,
        first_scored: int | None = None,
    ):
        check_at_least(1, paths=paths, children=children, back=back, first_scored=first_scored)
        if on <= back:
            raise ValueError(f"on is {on} and back {back}; give more steps on than back, or no round gets further")
        self.paths, self.children, self.back, self.on, self.first_scored = paths, children, back, on, first_scored

    def default_first(self, num_steps: int) -> int:
        return max(1, num_steps // 2)

    def plan(self, first: int, num_steps: int) -> list[Steps]:
        legs: list[Steps] = [(0, first if first < num_steps else None)]
        while (at := legs[-1][1]) is not None:
            start = max(0, at - self.back)
            legs.append((start, start + self.on if start + self.on < num_steps else None))
        return legs

    def most(self) -> int:
        first, *later = self.costs() or [1]
        paths = max(1, min(self.paths, (self.total - sum(later)) // first))
        if self.level == 0:
            return paths
        children = self.children or (self.total - paths * first) // (paths * sum(later))
        return paths * max(1, children)

    def survivors(self, scores: Sequence[float]) -> list[int]:
        return sorted(range(len(scores)), key=lambda k: -scores[k])[: self.paths]

    def node(self, parent: Node | None, number: int, level: int | None = None) -> Node:
        if parent is None:
            return super().node(parent, number, level)
        start, stop = self.legs[self.level if level is None else level]
        return parent.child(Renoise(start, number + 1), Noise(number + 1), stop=stop)
