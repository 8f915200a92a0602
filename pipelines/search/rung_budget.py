"""What a budget of NFEs buys of halving, where a candidate's cost is counted rung by rung as the rungs are reached."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

from ...samplers.strategies import Halving


class RungBudget:
    """How many candidates enter each rung of a bracket.

    A rung that no candidate has run in is held to cost as much a model call as the dearest before it. What later rungs
    did cost other prompts is left out, so that the order of the prompts does not tell.

    Args:
        halving: says how many go on.
        calls: model calls of a candidate by rung.
        budget: NFEs of a bracket; None for no bound.
    """

    def __init__(self, halving: Halving, calls: Sequence[int], budget: int | None):
        self.halving, self.calls, self.budget = halving, calls, budget
        self.costs: dict[int, int] = {}
        """NFEs of a candidate by rung, as far as they were counted."""

    def prices(self, rung: int) -> list[int]:
        """NFEs of a candidate by rung, as one knows them who has reached `rung`."""
        known = [self.costs[one] for one in range(rung + 1)]
        return known + _held(known, self.calls)

    def entrants(self, rung: int, spent: int) -> int:
        """How many candidates can enter a rung whose cost is known, and some of them finish; 0 where none can.

        Args:
            rung: from 0.
            spent: NFEs of the bracket's rungs before.
        """
        return self.halving.affordable(self.budget - spent, self.prices(rung)[rung:])

    def least(self) -> int:
        """The smallest budget above this one that ends a bracket, as far as costs are known."""
        known = [self.costs[one] for one in sorted(self.costs)]
        costs = dict(enumerate(known + _held(known, self.calls)))
        for budget in count(self.budget + 1):
            trial = RungBudget(self.halving, self.calls, budget)
            trial.costs = costs
            if trial._ends():
                return budget

    def _ends(self) -> bool:
        entering, spent = 0, 0
        for rung in range(len(self.calls)):
            room = self.entrants(rung, spent)
            entering = min(self.halving.survivors(entering), room) if rung else room
            if not entering:
                return False
            spent += entering * self.costs[rung]
        return True


def _held(known: Sequence[int], calls: Sequence[int]) -> list[int]:
    """Costs of the rungs beyond those known."""
    return [
        max(-(-later * cost // own) for cost, own in zip(known, calls, strict=False)) for later in calls[len(known) :]
    ]
