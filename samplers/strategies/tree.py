"""DTS and DTS*, diffusion tree sampling and search (Jain et al., arXiv 2506.20701): rollouts where they promise most.

A tree of samples, its root above all initial noises. Each iteration goes down from the root while a node x has C N(x)^a
children or more, N its visits; there it draws one child more, carries that to the end of the run, and scores the
finished image alone. Going back up the path, each node's soft value becomes

    v(x) = (1 / lambda) log mean_children exp(lambda v)

and its visits grow by one. Down the tree DTS takes a child with probability proportional to exp(lambda v), DTS* the one
with the largest v + c (log N(x) / N(child))^(1/2). The mean, not a sum, is over children: a sum would favour nodes for
having many.

C = 2 and a = 0.8 are the paper's for images, as are five branching steps at even distances, the beginning among them.
Its lambda and c for images were not to be had: those here are ours, in the score's own unit. As an iteration pays for
all steps below its node, a tree needs budgets of many whole runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np

from .budget import Steps
from .node import Node
from .particle_weights import log_mean_exp
from .stepwise import Stepwise, between, check_at_least


@dataclass(eq=False)
class Branch:
    """A node of the tree.

    Attributes:
        node: None for the root.
        value: soft value.
        visits: rollouts through it, and one.
        children: in the order in which they were drawn.
    """

    node: Node | None = None
    value: float = 0.0
    visits: int = 1
    children: list[Branch] = field(default_factory=list)


def back_up(path: Sequence[Branch], tilt: float) -> None:
    """Take a rollout into the values and visits of its path, which ends with a finished image, from there upwards."""
    path[-1].visits += 1
    for branch in reversed(path[:-1]):
        branch.value = log_mean_exp(np.asarray([tilt * child.value for child in branch.children])) / tilt
        branch.visits += 1


def upper_bound(branch: Branch, child: Branch, exploration: float) -> float:
    """v + c (log N(x) / N(child))^(1/2): what a child may be worth, the less it was visited the more."""
    return child.value + exploration * math.sqrt(math.log(branch.visits) / child.visits)


class Tree(Stepwise):
    """Whole rollouts from branching steps, more of them where finished images were good.

    Only finished images count, so calibrations of early scores are not asked.

    Args:
        rule: "search" for DTS*, "sample" for DTS.
        branches: steps at which the tree branches, the beginning among them, at even distances.
        tilt: lambda, in units of 1 / score, above 0.
        exploration: c of DTS*, at least 0.
        width: C; with `growth` it says how many children a node of so many visits has.
        growth: a, in [0, 1].
        first_scored: the first branching step below the beginning; None for an even distance.

    Attributes:
        root: of the tree.

    Raises:
        ValueError: for settings outside of their ranges.
    """

    name = "tree"

    root: Branch
    path: list[Branch]
    """From the root to where the rollout under way stands."""

    def __init__(
        self,
        rule: Literal["search", "sample"] = "search",
        branches: int = 5,
        tilt: float = 10.0,
        exploration: float = 1.0,
        width: float = 2.0,
        growth: float = 0.8,
        first_scored: int | None = None,
    ):
        check_at_least(1, branches=branches, width=width, first_scored=first_scored)
        check_at_least(0, exploration=exploration, growth=growth)
        if rule not in ("search", "sample"):
            raise ValueError(f"rule is {rule!r}; give 'search' or 'sample'")
        if not tilt > 0 or growth > 1:
            raise ValueError(f"tilt is {tilt} and growth {growth}; give a tilt above 0, and a growth from 0 to 1")
        self.rule, self.branches, self.tilt, self.exploration = rule, branches, tilt, exploration
        self.width, self.growth, self.first_scored = width, growth, first_scored

    def informed(
        self, correlations: Mapping[int, float], quantiles: Mapping[int, Sequence[float]] | None = None
    ) -> Self:
        return self

    def default_first(self, num_steps: int) -> int:
        return -(-num_steps // self.branches)

    def plan(self, first: int, num_steps: int) -> list[Steps]:
        even = [first + round(k * (num_steps - first) / (self.branches - 1)) for k in range(self.branches - 1)]
        return between(sorted({step for step in even if step < num_steps}))

    def begin(self) -> None:
        self.root = Branch()
        self.path = [self.root]

    def propose(self, count: int) -> list[Node]:
        if self.done:
            return []
        branch = self.path[-1]
        number = len(branch.children) if branch.node is None else len(self.observed)
        return [self.node(branch.node, number)]

    def take(self, node: Node, score: float) -> None:
        child = Branch(node, score if node.finished else 0.0)
        self.path[-1].children.append(child)
        self.path.append(child)
        if node.finished:
            back_up(self.path, self.tilt)
            self.path = self._descended()
        self.enter(len(self.path) - 1)

    def _descended(self) -> list[Branch]:
        """The path to the node that is expanded next: one whose rollout is paid."""
        costs = self.costs() or []
        while True:
            path = [self.root]
            while (level := len(path) - 1) < len(self.legs):
                branch = path[-1]
                full = len(branch.children) >= self.width * branch.visits**self.growth
                paid = sum(costs[level:]) <= self.remaining
                last = level == len(self.legs) - 1
                if (paid and not full) or (last and not paid):
                    return path
                path.append(self._chosen(branch, level))
            back_up(path, self.tilt)  # an image that is known: another visit, at no cost

    def _chosen(self, branch: Branch, level: int) -> Branch:
        if self.rule == "search":
            return max(branch.children, key=lambda child: upper_bound(branch, child, self.exploration))
        values = self.tilt * np.asarray([child.value for child in branch.children])
        weights = np.exp(values - values.max()) if np.isfinite(values.max()) else np.ones(len(values))
        generator = self.generator(len(self.observed), level, branch.visits)
        return branch.children[int(generator.choice(len(values), p=weights / weights.sum()))]
