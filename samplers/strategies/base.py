"""The protocol of a search: propose nodes, observe their scores, until done; then the best.

A node stands *after a model call and before the step that follows it*. `Node.draw(seed, stop=k)` and `child(stop=k)`
have made the model calls of steps 0 to k - 1; their score is that of the clean prediction formed in the last of them,
and the noise of step k - 1 is not drawn yet. It is a child's: `child(Noise(key), stop=k + 1)` makes that step with its
own noise, calls the model at the sample that came out, and is scored by what was predicted *there*. So a score sees the
noise that it is to judge; siblings share the call before it; and the call that scores a candidate is the one that its
own children step from, so nothing is evaluated twice. A finished node has made the last step too, and is scored by its
image.

Both ways to run a strategy evaluate these same nodes. In windows (`pipelines/paused_rows.py`) a child's window begins
with the pending step of its parent and ends with its last model call. Within a pipeline's own loop one iteration *is* a
node of one step: the scheduler's `step` is given the model's output there, has it scored, and returns the sample of the
child that is proposed next, by the step that its parent left pending.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from .budget import Budget, BudgetError, Steps
from .needs import Need
from .node import Node

WHOLE: Steps = (0, None)
"""Steps of a whole run."""


class Strategy(ABC):
    """Chooses the nodes of one prompt.

    An instance holds settings; `start` gives a fresh copy with the state of one prompt's search. Which nodes are
    proposed depends on the seed, on the observed scores and on counted prices alone, so that a search can be resumed
    from its records.

    Attributes:
        name: in `STRATEGIES` and in records.
        needs: what it needs of a pipeline and of a verifier.
        seed: of the first candidate.
        num_candidates: how many begin, as many as the budget buys where that is given; None where only the strategy can
            tell how many that is, as its candidates do not all cost the same.
        budget: of the prompt.
        num_steps: of a whole run; None where it needs no pauses.
        observed: nodes and their scores, in their order.
    """

    name: str
    needs: ClassVar[frozenset[Need]] = frozenset()

    seed: int
    num_candidates: int | None
    budget: Budget
    num_steps: int | None
    observed: list[tuple[Node, float]]

    def start(
        self,
        seed: int,
        num_candidates: int | None = None,
        budget: Budget | None = None,
        num_steps: int | None = None,
    ) -> Self:
        """A copy that searches one prompt.

        Args:
            seed: of the first candidate.
            num_candidates: how many begin; None where the strategy itself learns what the budget buys.
            budget: of the prompt; None for one without a bound.
            num_steps: of a whole run, for a strategy that needs pauses.
        """
        search = copy.copy(self)
        search.seed, search.num_candidates = seed, num_candidates
        search.budget, search.num_steps = budget or Budget(), num_steps
        search.observed = []
        return search

    @property
    def costs_alike(self) -> bool:
        """Whether all of its candidates are whole runs, and so cost the same."""
        return Need.PAUSES not in self.needs

    def informed(
        self, correlations: Mapping[int, float], quantiles: Mapping[int, Sequence[float]] | None = None
    ) -> Self:
        """A copy that knows what a calibration does; most do not use it.

        Args:
            correlations: rank correlation of early scores with final ones, by the number of steps made.
            quantiles: of the scores at a step, by the number of steps made, at even shares from the lowest to the
                highest; None where they were not measured.
        """
        return self

    @abstractmethod
    def propose(self, count: int) -> list[Node]:
        """The next nodes, at most `count`; the same until `observe` is called."""

    def observe(self, nodes: Sequence[Node], scores: Sequence[float]) -> None:
        """Take the scores of the first of the proposed nodes; a failed one has -inf."""
        self.observed += zip(nodes, scores, strict=True)

    def needs_again(self, node: Node) -> bool:
        """Whether a node may still be gone on from; where not, its latents are forgotten."""
        return True

    def extend(self, extra: int) -> None:
        """Let that many candidates more begin."""
        if self.num_candidates is not None:
            self.num_candidates += extra

    def left(self, count: int) -> int:
        """How many of `count` candidates more may be observed by `num_candidates`."""
        return count if self.num_candidates is None else max(0, min(count, self.num_candidates - len(self.observed)))

    @property
    def done(self) -> bool:
        return not self.left(1)

    def check_budget(self) -> None:
        """Whether the budget buys a candidate, with the prices that are known; called whenever a price was counted.

        Raises:
            BudgetError: where it does not.
        """
        price = self.budget.prices.get(WHOLE)
        if self.budget.nfe is not None and price is not None and price > self.budget.nfe:
            raise BudgetError(self.budget.nfe, price)

    def expected(self) -> int | None:
        """NFEs of the whole search of a prompt, where they are known."""
        price = self.budget.prices.get(WHOLE)
        return None if price is None or self.num_candidates is None else price * self.num_candidates

    @property
    def best(self) -> Node:
        """The node with the highest score; the first of equals."""
        return max(self.observed, key=lambda pair: pair[1])[0]
