"""What a prompt's search may spend, in NFEs, and what steps cost, as far as it was counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .node import Node

Steps = tuple[int, int | None]
"""Steps [start, stop) of a run; None for its end."""


class BudgetError(ValueError):
    """The budget buys no candidate."""

    def __init__(self, budget: int, least: int):
        super().__init__(
            f"budget is {budget} NFEs, below one candidate, which costs {least} here; give at least {least}"
        )


class Budget:
    """NFEs of one prompt.

    Args:
        nfe: the bound; None where there is none.
        prices: NFEs of one candidate by its steps, as counted; those of all prompts share one.
        calls: says how many model calls some steps make, where that is known.

    Attributes:
        spent: NFEs of the candidates so far.
    """

    def __init__(
        self,
        nfe: int | None = None,
        prices: dict[Steps, int] | None = None,
        calls: Callable[[int, int | None], int] | None = None,
    ):
        self.nfe, self.spent = nfe, 0
        self.prices: dict[Steps, int] = {} if prices is None else prices
        self.calls = calls

    def knows(self, node: Node) -> bool:
        """Whether the price of a node's last leg was counted; without a bound it does not matter."""
        return self.nfe is None or (node.start, node.stop) in self.prices

    def learn(self, node: Node, nfe: int) -> None:
        """Take a counted price; the first holds."""
        self.prices.setdefault((node.start, node.stop), nfe)

    def pays(self, nodes: Sequence[Node]) -> int:
        """How many of these nodes, in their order, can still be paid; their prices are known."""
        if self.nfe is None:
            return len(nodes)
        left = self.nfe - self.spent
        for count, node in enumerate(nodes):
            left -= self.prices[node.start, node.stop]
            if left < 0:
                return count
        return len(nodes)

    def extend(self, extra: int) -> None:
        """Let that many NFEs more be spent, where there is a bound."""
        if self.nfe is not None:
            self.nfe += extra

    def estimates(self, legs: Sequence[Steps], reached: int) -> list[int]:
        """NFEs of a candidate by leg of a bracket, as known when leg `reached` is under way.

        A later leg is taken to cost as much per model call as the dearest leg so far. What it cost other prompts
        is left out, so that the order of the prompts does not matter.

        Args:
            legs: of a candidate, in their order.
            reached: the last whose price is read.

        Raises:
            ValueError: without `calls`.
        """
        if self.calls is None:
            raise ValueError("prices of later legs follow from their model calls; give the budget calls=")
        calls = [self.calls(*leg) for leg in legs]
        known = [self.prices[leg] for leg in legs[: reached + 1]]
        return known + [
            max(-(-later * price // own) for price, own in zip(known, calls, strict=False))
            for later in calls[len(known) :]
        ]
