"""What strategies share that choose from step to step: their legs, what a try costs, and what a budget still pays.

A **level** is a step at which candidates stand and are scored: after the model call of the step before it, so that its
score is that of the clean prediction formed there (`base.py`). The first level's candidates begin at seeds' noises;
those of a later one are children, by another noise, of what was chosen before; the last level's are finished.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import numpy as np

from .base import Strategy
from .budget import Budget, BudgetError, Steps
from .halving import TELLING
from .needs import Need
from .node import Node, Noise

CHOICES = 0xC401CE
"""Stream of a strategy's own draws (`Stepwise.generator`)."""


class Stepwise(Strategy):
    """A strategy over levels.

    Its plan is made in what a search may spend: NFEs, as far as they were counted, or, where `num_candidates` bounds
    it, model calls, as many as that number of whole runs makes. What a plan leaves is spent on the last level, until
    not one candidate more is paid; and no candidate is tried earlier that would leave too little to finish one.

    Attributes:
        first_scored: the step of the first level, so that the noise of the steps before is drawn and not chosen; None
            for the first at which a calibration finds that scores tell, or `default_first` without one.
        correlations, quantiles: of a calibration, by the number of steps made; None where it does not know.
        legs: steps from each level to the next.
        level: that is under way, from 0.
        here: nodes and scores of this level so far.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({Need.PAUSES, Need.RUNNING_SCORES, Need.STOCHASTIC_STEPS})

    first_scored: int | None = None
    correlations: Mapping[int, float] | None = None
    quantiles: Mapping[int, Sequence[float]] | None = None

    legs: list[Steps]
    level: int
    here: list[tuple[Node, float]]
    _priced: int
    """Legs, from the first, of which this search has seen the price."""
    _called: int
    """Model calls so far."""
    _untold: int
    """NFEs of those nodes of a batch whose scores are still to be taken, one by one."""

    def informed(
        self, correlations: Mapping[int, float], quantiles: Mapping[int, Sequence[float]] | None = None
    ) -> Self:
        """A copy with what a calibration knows; `first_scored`, where it was given, is kept."""
        strategy = copy.copy(self)
        strategy.correlations, strategy.quantiles = correlations, quantiles
        return strategy

    def default_first(self, num_steps: int) -> int:
        """The step of the first level where neither the user nor a calibration names it."""
        return 1

    def plan(self, first: int, num_steps: int) -> list[Steps]:
        """Steps from each level to the next, where candidates are scored first after `first` steps of the run."""
        return between(range(first, num_steps))

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
            num_candidates: bounds the search, where no budget does, by the model calls of that many whole runs.
            budget: of the prompt.
            num_steps: of a whole run.

        Raises:
            ValueError: without the number of steps, without a bound or for one below what a search takes, or for a
                first level beyond the run.
        """
        if num_steps is None:
            raise ValueError(f"{self.name} goes from step to step of a run; pass num_steps=")
        if num_candidates is None and (budget is None or budget.nfe is None):
            raise ValueError(f"{self.name} divides a budget among steps; give a budget, or num_candidates=")
        if num_candidates is not None and num_candidates < 1:
            raise ValueError(f"num_candidates is {num_candidates}; give at least 1")
        search = super().start(seed, num_candidates, budget, num_steps)
        search.legs = search.plan(search._first(num_steps), num_steps)
        search.level, search.here, search._priced, search._called, search._untold = 0, [], 0, 0, 0
        if search.budget.nfe is None and (least := sum(search.costs() or [])) > search.total:
            raise ValueError(
                f"num_candidates is {num_candidates}, which pays {search.total} model calls, and {self.name} makes "
                f"{least} at least; give more candidates"
            )
        search.begin()
        return search

    def begin(self) -> None:
        """Set up what a prompt's search keeps beside its levels, at the end of `start`.

        Raises:
            ValueError: where it lacks what it goes by.
        """

    def _first(self, num_steps: int) -> int:
        if self.first_scored is not None:
            if self.first_scored > num_steps:
                raise ValueError(f"first_scored is {self.first_scored}, but the run has {num_steps} steps")
            return self.first_scored
        if self.correlations is None:
            return self.default_first(num_steps)
        return min((step for step, value in self.correlations.items() if value >= TELLING), default=num_steps)

    @property
    def finishes(self) -> bool:
        """Whether the level under way is the last."""
        return self.level == len(self.legs) - 1

    def step_of(self, level: int) -> int:
        """How many steps are made where the candidates of a level are scored."""
        stop, end = self.legs[level][1], self.num_steps
        if stop is not None:
            return stop
        return 0 if end is None else end

    def costs(self) -> list[int] | None:
        """What a candidate costs from each level to the next; None before the first price is counted.

        A leg that this search has not seen costs as much per model call as the dearest so far (`Budget.estimates`).
        """
        if self.budget.nfe is None:
            return [self._calls(*leg) for leg in self.legs]
        return self.budget.estimates(self.legs, self._priced - 1) if self._priced else None

    def _calls(self, start: int, stop: int | None) -> int:
        if self.budget.calls is not None:
            return self.budget.calls(start, stop)
        return (self.step_of(-1) if stop is None else stop) - start

    @property
    def total(self) -> int:
        """What the search may spend, in the unit of `costs`."""
        if self.budget.nfe is not None:
            return self.budget.nfe
        return (self.num_candidates or 0) * self._calls(0, None)

    @property
    def remaining(self) -> int:
        """What is left of `total`."""
        spent = self._called if self.budget.nfe is None else self.budget.spent - self._untold
        return self.total - spent

    def room(self) -> int:
        """How many candidates of this level can still be tried, so that one can be finished afterwards."""
        costs = self.costs()
        if costs is None:
            return 0 if self.here else 1
        return max(0, self.remaining - sum(costs[self.level + 1 :])) // costs[self.level]

    def generator(self, *numbers: int) -> np.random.Generator:
        """The source of a choice that is left to chance: of the search's seed and the choice's numbers alone."""
        return np.random.default_rng(np.random.SeedSequence([self.seed, CHOICES, *numbers]))

    def node(self, parent: Node | None, number: int, level: int | None = None) -> Node:
        """A candidate of a level.

        Args:
            parent: what it goes on from; None for a seed's noise.
            number: of the candidate within its level, from 0; no two of a level have the same noise.
            level: None for the one under way.
        """
        stop = self.legs[self.level if level is None else level][1]
        return (
            Node.draw(self.seed + number, stop=stop) if parent is None else parent.child(Noise(number + 1), stop=stop)
        )

    def observe(self, nodes: Sequence[Node], scores: Sequence[float]) -> None:
        """Take the scores of the first of the proposed nodes; a failed one has -inf."""
        super().observe(nodes, scores)
        # The budget has paid for all of them: what follows from one must not hang on those beside it in its batch.
        prices = [self.budget.prices.get((node.start, node.stop), 0) for node in nodes]
        self._untold = sum(prices)
        for node, score, price in zip(nodes, scores, prices, strict=True):
            self._untold -= price
            self._priced = max(self._priced, len(node.legs))
            self._called += self._calls(node.start, node.stop)
            self.here.append((node, score))
            self.take(node, score)

    @abstractmethod
    def take(self, node: Node, score: float) -> None:
        """Go on, where the level is decided with this node, the last of `here`."""

    def enter(self, level: int) -> None:
        """Begin a level."""
        self.level, self.here = level, []

    @property
    def done(self) -> bool:
        costs = self.costs()
        return costs is not None and self.remaining < costs[self.level]

    def check_budget(self) -> None:
        """Whether the budget finishes a candidate, with the prices that are known.

        Raises:
            BudgetError: where it does not.
        """
        prices = self.budget.prices
        known = (
            self._priced if self._priced < len(self.legs) and self.legs[self._priced] in prices else self._priced - 1
        )
        if self.budget.nfe is None or known < 0:
            return
        if (least := sum(self.budget.estimates(self.legs, known))) > self.budget.nfe:
            raise BudgetError(self.budget.nfe, least)

    def expected(self) -> int | None:
        if self.budget.nfe is not None:
            return self.budget.nfe
        if not self._priced:
            return None
        return (
            self.total
            * sum(self.budget.estimates(self.legs, self._priced - 1))
            // sum(self._calls(*leg) for leg in self.legs)
        )

    @property
    def best(self) -> Node:
        """The finished node with the highest score; the first of equals."""
        finished = [pair for pair in self.observed if pair[0].finished]
        return max(finished, key=lambda pair: pair[1])[0]


def between(stops: Sequence[int]) -> list[Steps]:
    """Legs from the beginning of a run through each of these steps to its end."""
    return list(zip([0, *stops], [*stops, None], strict=True))


def check_at_least(least: float, **settings: float | None) -> None:
    """Check settings that are numbers from `least`, or None.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, value in settings.items():
        if value is not None and not value >= least:
            raise ValueError(f"{name} is {value}; give at least {least}")
