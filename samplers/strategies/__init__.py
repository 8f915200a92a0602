"""Search strategies: which candidates to try next. A strategy is one file and one line in `STRATEGIES`."""

import inspect
import json
import re

from .base import Move, Proposal, Strategy
from .halving import Halving, RungProposal
from .random import Random
from .zero_order import ZeroOrder

STRATEGIES: dict[str, type[Strategy]] = {kind.name: kind for kind in (Random, ZeroOrder, Halving)}
"""Strategies by name."""


def make_strategy(strategy: str | Strategy) -> Strategy:
    """A strategy by name, such as "random" or "zero-order:neighbours=8,angle=0.3" or "halving:rungs=[4,12]"; or itself.

    Raises:
        ValueError: for an unknown name or setting; it lists the known ones.
    """
    if isinstance(strategy, Strategy):
        return strategy
    name, _, text = strategy.partition(":")
    if name not in STRATEGIES:
        raise ValueError(f"unknown strategy {name!r}; known: {', '.join(STRATEGIES)}, or a Strategy object")
    kind = STRATEGIES[name]
    known = list(inspect.signature(kind).parameters)
    settings = {}
    for part in filter(None, re.split(r",(?![^[{]*[\]}])", text)):  # not at the commas within brackets
        key, _, value = part.partition("=")
        if key not in known:
            raise ValueError(f"{name} has no setting {key!r}; known: {', '.join(known) or 'none'}")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            raise ValueError(f"{part!r} gives no number; write it as {key}=0.5") from None
    return kind(**settings)


__all__ = [
    "STRATEGIES",
    "Halving",
    "Move",
    "Proposal",
    "Random",
    "RungProposal",
    "Strategy",
    "ZeroOrder",
    "make_strategy",
]
