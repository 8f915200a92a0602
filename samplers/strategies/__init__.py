"""Search strategies: which candidates to try next. A strategy is one file and one line in `STRATEGIES`."""

from ...named_settings import resolve
from .base import Strategy
from .budget import Budget, BudgetError
from .code import Code
from .halving import Halving
from .needs import Need
from .node import Leg, Move, Node, Noise, Renoise, Turn
from .random import Random
from .rbf import Rbf
from .smc import Smc
from .sop import Sop
from .svdd import Svdd
from .threshold import Threshold
from .tree import Tree
from .zero_order import ZeroOrder

STRATEGIES: dict[str, type[Strategy]] = {
    kind.name: kind for kind in (Random, ZeroOrder, Halving, Svdd, Code, Smc, Rbf, Threshold, Sop, Tree)
}
"""Strategies by name."""


def make_strategy(strategy: str | Strategy) -> Strategy:
    """A strategy by name, such as "random" or "zero-order:neighbours=8,angle=0.3" or "halving:rungs=[4,12]"; or itself.

    Raises:
        ValueError: for an unknown name or setting; it lists the known ones.
    """
    if isinstance(strategy, Strategy):
        return strategy
    kind, settings = resolve(strategy, STRATEGIES, "strategy")
    return kind(**settings)


__all__ = [
    "STRATEGIES",
    "Budget",
    "BudgetError",
    "Code",
    "Halving",
    "Leg",
    "Move",
    "Need",
    "Node",
    "Noise",
    "Random",
    "Rbf",
    "Renoise",
    "Smc",
    "Sop",
    "Strategy",
    "Svdd",
    "Threshold",
    "Tree",
    "Turn",
    "ZeroOrder",
    "make_strategy",
]
