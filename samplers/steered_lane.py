"""One row of a steered run: its search, where its nodes stand, and the best so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .strategies import Budget, Node, Strategy


@dataclass(frozen=True, eq=False)
class Standing:
    """A row after a model call.

    Attributes:
        model_output: of the call, (1, ...).
        sample: that the model was called at, (1, ...).
    """

    model_output: Tensor
    sample: Tensor


@dataclass(frozen=True)
class Visited:
    """A node that was evaluated.

    Attributes:
        node: with its path; `node.parent` is what it goes on from, `node.noise_key` the key of its noise.
        score: of its clean prediction, or of the finished latents.
        calls: model calls of its row up to and with it.
    """

    node: Node
    score: float
    calls: int


class Lane:
    """The search of one row, whose budget is counted in the model calls of that row.

    Args:
        strategy: settings; the row has a copy.
        seed: of its first candidate.
        budget: model calls.
        steps: of a path.

    Attributes:
        search: under way.
        node: that is being made; what was made last where the search is done.
        call: number, within its path, of the model call that is made next or was made last.
        done: whether nothing more is proposed.
        visited: nodes that were evaluated.
    """

    def __init__(self, strategy: Strategy, seed: int, budget: int, steps: int):
        self.steps, self.done = steps, False
        bound = Budget(budget, {}, self._calls)
        count = budget // steps if strategy.costs_alike else None
        self.search = strategy.start(seed, count, bound, steps)
        self.visited: list[Visited] = []
        self._standing: dict[str, tuple[Node, Standing]] = {}
        self._here: Standing | None = None
        self._best: tuple[Visited, Tensor] | None = None
        self._last_call, self._spent = -1, 0
        (self.node,) = self.search.propose(1)
        self.call = 0

    def _calls(self, start: int, stop: int | None) -> int:
        return (self.steps if stop is None else stop) - start

    @property
    def is_made(self) -> bool:
        """Whether the last model call of the node was made."""
        return self._last_call == (self.steps if self.node.stop is None else self.node.stop) - 1

    @property
    def standing(self) -> Standing:
        """After the last model call."""
        assert self._here is not None
        return self._here

    def stand(self, here: Standing) -> None:
        """Take what the model call under way gave."""
        self._here, self._last_call = here, self.call
        if not self.is_made:
            self.call += 1

    def observe(self, score: float, latents: Tensor) -> None:
        """Tell the strategy the score of the node that is made.

        Args:
            score: its.
            latents: that were scored, (1, ...).
        """
        node, search = self.node, self.search
        calls = self._calls(node.start, node.stop)
        search.budget.learn(node, calls)
        search.budget.spent += calls
        search.check_budget()
        self._spent += calls
        visited = Visited(node, score, self._spent)
        self.visited.append(visited)
        if self._best is None or _rank(visited) > _rank(self._best[0]):
            self._best = visited, latents
        if not node.finished:
            self._standing[node.id] = node, self.standing
        search.observe([node], [score])
        self._standing = {key: one for key, one in self._standing.items() if search.needs_again(one[0])}

    def propose(self) -> Node | None:
        """The next node, which the row goes for from here on; None where the search is done."""
        nodes = [] if self.search.done else self.search.propose(1)
        left = self.search.budget.nfe
        if not nodes or (left is not None and self._calls(nodes[0].start, nodes[0].stop) > left - self._spent):
            self.done = True
            return None
        self.node, self.call = nodes[0], nodes[0].start
        return self.node

    def go_on_from(self, parent: Node) -> None:
        """Stand again where a node stood."""
        self._here = self._standing[parent.id][1]

    @property
    def best(self) -> Visited:
        """The best so far."""
        return self._found[0]

    @property
    def best_latents(self) -> Tensor:
        """Its clean prediction or finished latents, (1, ...)."""
        return self._found[1]

    @property
    def _found(self) -> tuple[Visited, Tensor]:
        if self._best is None:
            raise ValueError("no node is evaluated yet")
        return self._best


def _rank(visited: Visited) -> tuple[float, float]:
    """The step at which a node stands comes first, then its score."""
    stop = visited.node.stop
    return math.inf if stop is None else stop, visited.score
