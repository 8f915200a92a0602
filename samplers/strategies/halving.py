"""Successive halving over noises: only candidates whose early prediction scores well are finished.

All candidates run to an early step, the better part by the score of the clean prediction there goes on to the next, and
the last rung ends with finished images (Jamieson and Talwalkar, arXiv 1502.07943, with steps as the resource). Their
rungs of equal cost would start where a clean prediction tells nothing yet, so there is one early look by default, late
enough to tell. Where calibration finds no such step, the first rung is the last: random search.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import count as numbers
from itertools import pairwise
from typing import Self

from .base import Strategy
from .budget import Budget, BudgetError, Steps
from .needs import Need
from .node import Node

TELLING = 0.8
"""Rank correlation with the finished score from which on a clean prediction's score is a choice to go by."""


class Halving(Strategy):
    """Candidates race over rungs of steps; `keep` of them go on.

    Args:
        rungs: None for one early look, at the first step that tells, or in the middle of the run where that is not
            known; a number for so many rungs of about the same cost; or the steps at which all but the last end.
        keep: share of a rung's candidates that go on, in (0, 1).
        correlations: rank correlation of the clean prediction's score with the final one, by the number of steps made,
            as calibration finds it; the first rung ends no earlier than the first step that reaches `threshold`. None:
            not known, and the rungs are taken as they are.
        threshold: below it an early score does not tell.

    Raises:
        ValueError: for settings outside of their ranges.
    """

    name = "halving"
    needs = frozenset({Need.PAUSES, Need.RUNNING_SCORES})

    def __init__(
        self,
        rungs: int | Sequence[int] | None = None,
        keep: float = 0.25,
        correlations: Mapping[int, float] | None = None,
        threshold: float = TELLING,
    ):
        steps = (
            list(rungs)
            if isinstance(rungs, Sequence) and not isinstance(rungs, str)
            else [1 if rungs is None else rungs]
        )
        whole = all(isinstance(step, int) and not isinstance(step, bool) and step >= 1 for step in steps)
        if not whole or steps != sorted(set(steps)):
            raise ValueError(f"rungs are {rungs}; give a number from 1, or rising steps from 1")
        if not isinstance(keep, (int, float)) or not 0 < keep < 1:
            raise ValueError(f"keep is {keep}; give more than 0 and less than 1")
        if not isinstance(threshold, (int, float)) or not -1 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}; give a rank correlation, from -1 to 1")
        if correlations is not None and not isinstance(correlations, Mapping):
            raise ValueError(f"correlations are {correlations}; give numbers by step, as {{8: 0.6}}")
        self.rungs, self.keep = rungs, keep
        known = correlations and {int(step): float(value) for step, value in correlations.items()}
        self.correlations, self.threshold = known, threshold

    def informed(
        self, correlations: Mapping[int, float], quantiles: Mapping[int, Sequence[float]] | None = None
    ) -> Self:
        """A copy with the rank correlations of a calibration; its own, where it has some, are kept."""
        strategy = copy.copy(self)
        strategy.correlations = correlations if self.correlations is None else self.correlations
        return strategy

    def ends(self, num_steps: int) -> list[int]:
        """The steps at which rungs end in a run of `num_steps`, the run's own end last.

        Lengths of a given number of rungs grow by 1 / keep from one to the next, as the candidates become fewer; the
        last rung takes what is left.

        Raises:
            ValueError: for given steps that lie beyond the run.
        """
        if self.rungs is None:
            middle = max(1, num_steps // 2)
            return sorted({middle if self.correlations is None else self._first_telling(num_steps), num_steps})
        first = self._first_telling(num_steps)
        if not isinstance(self.rungs, int):
            if beyond := [step for step in self.rungs if step >= num_steps]:
                raise ValueError(f"rungs end at {', '.join(map(str, beyond))}, but the run has {num_steps} steps")
            return [*(step for step in self.rungs if step >= first), num_steps]
        growth = 1 / self.keep
        length = num_steps * (growth - 1) / (growth**self.rungs - 1)
        length, end = max(length, first), 0.0
        ends: list[int] = []
        while len(ends) < self.rungs - 1 and round(end + length) < num_steps:
            end += length
            # A length below one step gives the same end twice.
            if round(end) > (ends[-1] if ends else 0):
                ends.append(round(end))
            length *= growth
        return [*ends, num_steps]

    def _first_telling(self, num_steps: int) -> int:
        if self.correlations is None:
            return 1
        return min((step for step, value in self.correlations.items() if value >= self.threshold), default=num_steps)

    def survivors(self, count: int) -> int:
        """How many of a rung's candidates go on."""
        return max(1, int(count * self.keep))

    def cost(self, count: int, num_steps: int) -> int:
        """Steps, summed over candidates, of a search that starts with `count`."""
        return self.price(count, [end - start for start, end in pairwise([0, *self.ends(num_steps)])])

    def price(self, count: int, prices: Sequence[int]) -> int:
        """Cost of a search that starts with `count`, where a candidate costs `prices` in the rungs, in their order."""
        total = 0
        for price in prices:
            total += count * price
            count = self.survivors(count)
        return total

    def affordable(self, budget: int, prices: Sequence[int]) -> int:
        """How many candidates can start for a budget; 0 where none can.

        Args:
            budget: in the unit of `prices`.
            prices: of a candidate in the rungs, in their order.
        """
        count = 0
        while self.price(count + 1, prices) <= budget:
            count += 1
        return count

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
            num_candidates: how many begin; None for as many as the budget lets finish, once the first rung's price is
                counted: until then there is one.
            budget: of the prompt; it also bounds how many go on. None for no bound.
            num_steps: of the whole run.

        Raises:
            ValueError: without the number of steps, or for less than one candidate.
        """
        if num_steps is None:
            raise ValueError("halving needs the number of steps of a run, to place its rungs; pass num_steps=")
        if num_candidates is not None and num_candidates < 1:
            raise ValueError(f"num_candidates is {num_candidates}; give at least 1")
        search = super().start(seed, num_candidates, budget, num_steps)
        *before, _ = self.ends(num_steps)
        search.legs = list(zip([0, *before], [*before, None], strict=True))
        search.rung, search.racing, search.scores, search._before = 0, [], [], 0
        search._begin(1 if num_candidates is None else num_candidates)
        return search

    legs: list[Steps]
    """Steps of each rung."""
    rung: int
    """Number of the rung under way, from 0."""
    racing: list[Node]
    """Candidates of that rung, in the order in which they run: as they begin, and later as they stood before it."""
    scores: list[float]
    """Scores of those that have run in it."""

    def _begin(self, count: int) -> None:
        """Let so many candidates begin."""
        self.racing = [Node.draw(self.seed + k, stop=self.legs[0][1]) for k in range(count)]

    def _entrants(self) -> int | None:
        """How many candidates can enter the rung under way, so that some finish; None where that is not known."""
        if self.budget.nfe is None or self.legs[self.rung] not in self.budget.prices:
            return None
        prices = self.budget.estimates(self.legs, self.rung)[self.rung :]
        return self.affordable(self.budget.nfe - self._before, prices)

    def _fit(self) -> None:
        """Let no more candidates run than the budget lets finish, beside those whose scores are known."""
        if (entrants := self._entrants()) is None:
            return
        if self.rung == 0 and self.num_candidates is None:
            self._begin(entrants)
        self.racing = self.racing[: max(entrants, len(self.scores))]

    def propose(self, count: int) -> list[Node]:
        """The next nodes of the rung under way, at most `count`."""
        self._fit()
        waiting = self.racing[len(self.scores) : len(self.scores) + count]
        return [one if self.rung == 0 else one.child(stop=self.legs[self.rung][1]) for one in waiting]

    def observe(self, nodes: Sequence[Node], scores: Sequence[float]) -> None:
        """Take the scores of proposed nodes, of the rung under way; a failed one has -inf.

        When the rung is whole, the best go on, in the order of their scores; of equals, the first.
        """
        super().observe(nodes, scores)
        self._fit()
        first = len(self.scores)
        self.racing[first : first + len(nodes)] = nodes
        self.scores += scores
        if len(self.scores) < len(self.racing) or self.rung == len(self.legs) - 1:
            return
        ranked = sorted(range(len(self.racing)), key=lambda k: -self.scores[k])
        self.racing = [self.racing[k] for k in ranked[: self.survivors(len(self.racing))]]
        self.scores, self.rung, self._before = [], self.rung + 1, self.budget.spent

    def extend(self, extra: int) -> None:
        """Let that many candidates more begin.

        Raises:
            ValueError: once a rung has been decided: the others have left.
        """
        if self.rung:
            raise ValueError("halving has decided a rung already, so no further candidate can begin")
        first = len(self.racing)
        self.racing += [Node.draw(self.seed + k, stop=self.legs[0][1]) for k in range(first, first + extra)]
        super().extend(extra)

    @property
    def done(self) -> bool:
        return self.rung == len(self.legs) - 1 and len(self.scores) == len(self.racing)

    def check_budget(self) -> None:
        if self.budget.nfe is not None and self._entrants() == 0:
            raise BudgetError(self.budget.nfe, self._least_above(self.budget.nfe))

    def _least_above(self, budget: int) -> int:
        """The smallest budget above this one that ends a bracket, as far as prices are known."""
        prices = self.budget.estimates(self.legs, self.rung)
        return next(nfe for nfe in numbers(budget + 1) if self._ends_with(nfe, prices))

    def _ends_with(self, nfe: int, prices: Sequence[int]) -> bool:
        entering, spent = 0, 0
        for rung, price in enumerate(prices):
            held = Budget(nfe, dict(zip(self.legs, prices, strict=True)), self.budget.calls)
            room = self.affordable(nfe - spent, held.estimates(self.legs, rung)[rung:])
            entering = min(self.survivors(entering), room) if rung else room
            if not entering:
                return False
            spent += entering * price
        return True

    def expected(self) -> int | None:
        if self.legs[0] not in self.budget.prices:
            return None
        prices = self.budget.estimates(self.legs, 0)
        if self.num_candidates is not None:
            return self.price(self.num_candidates, prices)
        return None if self.budget.nfe is None else self.price(self.affordable(self.budget.nfe, prices), prices)

    @property
    def best(self) -> Node:
        """The finished node with the highest score; the first of equals."""
        finished = [pair for pair in self.observed if pair[0].finished]
        return max(finished, key=lambda pair: pair[1])[0]
