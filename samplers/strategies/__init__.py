"""Search strategies: which candidates to try next. A strategy is one file and one line in `STRATEGIES`."""

from .base import Proposal, Strategy
from .random import Random

STRATEGIES: dict[str, type[Strategy]] = {"random": Random}
"""Strategies by name."""


def make_strategy(strategy: str | Strategy) -> Strategy:
    """A strategy by name, or the object itself.

    Raises:
        ValueError: for an unknown name; it lists the known ones.
    """
    if isinstance(strategy, Strategy):
        return strategy
    if strategy not in STRATEGIES:
        raise ValueError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}, or a Strategy object")
    return STRATEGIES[strategy]()


__all__ = ["STRATEGIES", "Proposal", "Random", "Strategy", "make_strategy"]
