"""Zero-order search (Ma et al., arXiv 2501.09732): walk from the best noise to better neighbours."""

from __future__ import annotations

import math

from ..noise import direction_seed
from .base import Strategy
from .needs import Need
from .node import Node, Turn


class ZeroOrder(Strategy):
    """Neighbours of a pivot on the shell of Gaussian noise; the best so far is the next pivot.

    A round of independent draws comes first. Neighbour k of iteration i is the pivot turned by `angle` towards the
    noise of a seed that (seed, i, k) gives, so any candidate can be made again from its record alone.

    Args:
        neighbours: candidates per iteration.
        angle: radians between pivot and neighbour, in (0, pi / 2]. A distance d on a shell of radius r is the angle
            2 asin(d / 2r).
        draws: independent draws before the first iteration; None: as many as neighbours.

    Raises:
        ValueError: for settings outside of their ranges.
    """

    name = "zero-order"
    needs = frozenset({Need.MOVED_NOISE, Need.RUNNING_SCORES})

    def __init__(self, neighbours: int = 4, angle: float = 0.4, draws: int | None = None):
        self.neighbours, self.angle = neighbours, angle
        self.draws = neighbours if draws is None else draws
        if self.neighbours < 1 or self.draws < 1:
            raise ValueError(f"neighbours is {self.neighbours} and draws {self.draws}; give at least 1 of each")
        if not 0 < angle <= math.pi / 2:
            raise ValueError(f"angle is {angle} radians; give more than 0 and at most pi / 2")

    def propose(self, count: int) -> list[Node]:
        tried = len(self.observed)
        if tried < self.draws:
            return [Node.draw(self.seed + k) for k in range(tried, tried + self.left(min(count, self.draws - tried)))]
        iteration, first = divmod(tried - self.draws, self.neighbours)
        pivot = max(self.observed[: tried - first], key=lambda pair: pair[1])[0]
        neighbours = range(first, first + self.left(min(count, self.neighbours - first)))
        turns = [Turn(direction_seed(self.seed, iteration, k), self.angle) for k in neighbours]
        return [Node.draw(pivot.seed, *pivot.turns, turn) for turn in turns]
