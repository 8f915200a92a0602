"""Search strategies: which candidates to try next. A strategy is one file and one line in `STRATEGIES`."""

from .base import Move, Proposal, Strategy
from .random import Random
from .zero_order import ZeroOrder

STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in (Random, ZeroOrder)}
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


__all__ = ["STRATEGIES", "Move", "Proposal", "Random", "Strategy", "ZeroOrder", "make_strategy"]
