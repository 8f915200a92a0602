"""Random search, best-of-N (Ma et al., arXiv 2501.09732)."""

from __future__ import annotations

from .base import Proposal, Strategy


class Random(Strategy):
    """Independent noises: candidate k has seed `seed + k`."""

    name = "random"

    def propose(self, count: int) -> list[Proposal]:
        tried = len(self.observed)
        return [Proposal(self.seed + k) for k in range(tried, min(tried + count, self.num_candidates))]
