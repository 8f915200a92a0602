"""What a search will do, before it runs: how many candidates begin, how many finish, what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ....samplers.strategies import Strategy, Turn

MOST = 10_000
"""Evaluated nodes after which a plan is given up."""


@dataclass(frozen=True)
class Plan:
    """A search as planned.

    Attributes:
        begin: initial noises that are tried.
        finish: runs that are made to their end.
        nfe: of all.
    """

    begin: int
    finish: int
    nfe: int


def planned(
    strategy: Strategy, candidate: int, steps: int, budget: int | None, candidates: int | None, batch_size: int
) -> Plan | None:
    """Go through a strategy whose candidates all score alike, and pay as the search will.

    Args:
        strategy: with its settings, and what a calibration told it.
        candidate: NFEs of a whole run.
        steps: of a whole run.
        budget, candidates: one of the two bounds the search.
        batch_size: nodes in one call.

    Returns:
        None for a strategy that does not come to an end so.
    """
    from ....samplers.strategies import Budget

    def calls(start: int, stop: int | None) -> int:
        return (steps if stop is None else stop) - start

    prices: dict[tuple[int, int | None], int] = {}
    search = strategy.start(0, candidates, Budget(budget, prices, calls), steps)
    begun: set[tuple[int, tuple[Turn, ...]]] = set()
    finished, spent = 0, 0
    for _ in range(MOST):
        if search.done:
            return Plan(len(begun), finished, spent)
        nodes = search.propose(batch_size)
        nodes = [one for one in nodes if (one.start, one.stop) == (nodes[0].start, nodes[0].stop)]
        if nodes and not search.budget.knows(nodes[0]):
            nodes = nodes[:1]
            search.budget.learn(nodes[0], round(candidate * calls(nodes[0].start, nodes[0].stop) / steps))
        nodes = nodes[: search.budget.pays(nodes)]
        if not nodes:
            return Plan(len(begun), finished, spent)
        price = round(candidate * calls(nodes[0].start, nodes[0].stop) / steps)
        search.budget.spent += price * len(nodes)
        spent += price * len(nodes)
        begun |= {(one.seed, one.turns) for one in nodes}
        finished += sum(one.finished for one in nodes)
        search.observe(nodes, [0.0] * len(nodes))
    return None
