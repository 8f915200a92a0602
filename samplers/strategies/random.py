"""Random search, best-of-N (Ma et al., arXiv 2501.09732)."""

from __future__ import annotations

from .base import Strategy
from .node import Node


class Random(Strategy):
    """Independent noises: candidate k has seed `seed + k`."""

    name = "random"

    def propose(self, count: int) -> list[Node]:
        tried = len(self.observed)
        return [Node.draw(self.seed + k) for k in range(tried, tried + self.left(count))]
