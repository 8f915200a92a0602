"""Strategies of rounds: candidates are children of those that the round before kept, and some of them are kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from .node import Node
from .stepwise import Stepwise


class Rounds(Stepwise):
    """Tries candidates of a level, keeps one of them or several, and goes on from those.

    A subclass says how many candidates a level has at most (`most`), whether it is decided before (`settled`), and who
    is kept (`survivors`). The last level takes all that is left.

    Attributes:
        kept: what candidates of the level under way go on from, in turn; empty for seeds' noises.
    """

    at_once: ClassVar[int | None] = None
    """How many candidates may be evaluated together, as none hangs on another's score; None for any number."""

    kept: list[Node]

    @abstractmethod
    def most(self) -> int:
        """How many candidates the level under way has at most; asked once prices are known, and not in the last."""

    def settled(self, score: float) -> bool:
        """Whether the level is decided with a candidate of this score, the last of `here`."""
        return False

    def survivors(self, scores: Sequence[float]) -> list[int]:
        """Which candidates of the level are kept: the best, of equals the first."""
        return [max(range(len(scores)), key=scores.__getitem__)]

    def leave(self, score: float, settled: bool) -> None:
        """Told the score of the first survivor, and whether it settled the level, before the next one begins."""

    def begin(self) -> None:
        self.kept = []

    def needs_again(self, node: Node) -> bool:
        return len(node.legs) > self.level or node in self.kept

    def open(self) -> int:
        """How many candidates more the level may have."""
        if self.finishes or self.costs() is None:
            return self.room()
        least = 0 if self.here else 1  # a path goes on, whatever later steps turn out to cost
        return max(least, min(max(1, self.most()) - len(self.here), self.room()))

    def propose(self, count: int) -> list[Node]:
        if self.done:
            return []
        tried, number = len(self.here), min(count, self.open(), self.at_once or count)
        return [
            self.node(self.kept[k % len(self.kept)] if self.kept else None, k) for k in range(tried, tried + number)
        ]

    def take(self, node: Node, score: float) -> None:
        if self.finishes:
            return
        settled = self.settled(score)
        if settled or not self.open():
            kept = [self.here[k] for k in self.survivors([score for _, score in self.here])]
            self.leave(kept[0][1], settled)
            self.kept = [node for node, _ in kept]
            self.enter(self.level + 1)


class Siblings(Rounds):
    """As many candidates at each level, all of them evaluated before one is chosen.

    Attributes:
        children: at each level but the first; None for as many as the budget pays.
        draws: at the first.
    """

    children: int | None
    draws: int

    def most(self) -> int:
        if self.level == 0:
            return self.draws
        if self.children is not None:
            return self.children
        first, *later = self.costs() or [0]
        return (self.total - self.draws * first) // max(1, sum(later))
