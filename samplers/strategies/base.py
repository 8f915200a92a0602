"""The protocol of a search: propose candidates, observe their scores, until done; then the best."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

Move = tuple[int, float]
"""A turn of a noise towards the noise of a seed, by an angle in radians (`samplers.noise.rotate`)."""


@dataclass(frozen=True)
class Proposal:
    """A candidate before it is evaluated.

    Attributes:
        seed: the pipeline's own noise for this seed is where it starts.
        lineage: the moves that led from that noise to this one, in order; empty for plain draws.
    """

    seed: int
    lineage: tuple[Move, ...] = ()


class Strategy(ABC):
    """Chooses the candidates of one prompt.

    An instance holds settings; `start` gives a fresh copy with the state of one prompt's search. Which candidates are
    proposed depends on the seed and on the observed scores alone, so that a search can be resumed from its records.

    Attributes:
        name: in `STRATEGIES` and in records.
        moves_noise: whether its proposals have lineages.
        needs_scores: whether it reads a score before the pool is whole, which a verifier that ranks pools cannot give.
        has_rungs: whether its candidates stop at steps of the run, are scored there, and only some go on (`Halving`).
    """

    name: str
    moves_noise: bool = False
    needs_scores: bool = False
    has_rungs: bool = False

    def start(self, seed: int, num_candidates: int) -> Strategy:
        """A copy that searches one prompt.

        Args:
            seed: of the first candidate.
            num_candidates: how many the budget buys.
        """
        search = copy.copy(self)
        search.seed = seed
        search.num_candidates = num_candidates
        search.observed = []
        return search

    seed: int
    num_candidates: int
    observed: list[tuple[Proposal, float]]

    @abstractmethod
    def propose(self, count: int) -> list[Proposal]:
        """The next candidates, at most `count`; the same until `observe` is called."""

    def observe(self, proposals: Sequence[Proposal], scores: Sequence[float]) -> None:
        """Take the scores of proposed candidates; a failed one has -inf."""
        self.observed += zip(proposals, scores, strict=True)

    def extend(self, extra: int) -> None:
        """Let it try that many candidates more."""
        self.num_candidates += extra

    @property
    def done(self) -> bool:
        return len(self.observed) >= self.num_candidates

    @property
    def best(self) -> Proposal:
        """The candidate with the highest score; the first of equals."""
        return max(self.observed, key=lambda pair: pair[1])[0]
