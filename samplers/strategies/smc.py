"""SMC, Feynman-Kac steering (Singhal et al., arXiv 2501.06848): weighted particles towards p(x_0) exp(lambda r(x_0)).

Particles are proposed by the model's own stochastic steps, scored at each by r_t = r(x0-hat(x_t)), weighted by
potentials G_t, and resampled by their weights. With r_1, ..., r_T the scores along a path, r_T the finished image's,
their potentials are

    difference   G_t = exp(lambda (r_t - r_(t-1))),  G_1 = exp(lambda r_1)
    max          G_t = exp(lambda max(r_1, ..., r_t))
    sum          G_t = exp(lambda (r_1 + ... + r_t))

and the last one is exp(lambda r_T) / prod_(t<T) G_t, so that each path's product is exp(lambda r_T) whichever they are:
all have the same target, and differ in what survives on the way. Of the difference the last is no exception.

Three things are done otherwise than by the authors' code. Weights are carried until particles are resampled; there the
increment of a step without resampling was lost with adaptive resampling and the difference. Resampling is systematic by
default, whose offspring numbers vary least (at most 1/4, against k w (1 - w) of multinomial draws). And lambda is 10,
as theirs, but it is in the score's own unit: tune it. An ODE is refused, as copies of one particle would stay one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from .node import Node
from .particle_weights import Draw, Weights, multinomial, systematic
from .stepwise import Stepwise, check_at_least

Potential = Callable[[np.ndarray], np.ndarray]
"""log G_t / lambda of every step but the last, (steps, particles), from the scores along the paths, of that shape."""


def difference(scores: np.ndarray) -> np.ndarray:
    """r_t - r_(t-1), and r_1 first."""
    return np.diff(scores, axis=0, prepend=0.0)


def running_max(scores: np.ndarray) -> np.ndarray:
    """max(r_1, ..., r_t)."""
    return np.maximum.accumulate(scores, axis=0)


def running_sum(scores: np.ndarray) -> np.ndarray:
    """r_1 + ... + r_t."""
    return np.cumsum(scores, axis=0)


def log_potential(potential: Potential, scores: np.ndarray, tilt: float, last: bool) -> np.ndarray:
    """log G_t of the step that was scored last, (particles,).

    Args:
        potential: one of the above.
        scores: along the paths so far, (steps, particles).
        tilt: lambda.
        last: whether the scores are of the finished images, where log G_T = lambda r_T - sum_(t<T) log G_t.
    """
    with np.errstate(invalid="ignore"):  # of scores that are -inf
        if not last:
            return tilt * potential(scores)[-1]
        return tilt * (scores[-1] - potential(scores[:-1]).sum(0))


POTENTIALS: dict[str, Potential] = {"difference": difference, "max": running_max, "sum": running_sum}
RESAMPLING: dict[str, Draw] = {"systematic": systematic, "multinomial": multinomial}


class Smc(Stepwise):
    """Particles that are weighted, resampled and finished together.

    Args:
        particles: k; None for as many as the budget finishes.
        potential: "difference", "max" or "sum".
        tilt: lambda, in units of 1 / score.
        resampling: "systematic" or "multinomial".
        ess: particles are resampled where the effective size of their weights is below this share of k, in (0, 1].
        resample_at: numbers of steps made at which they may be; None for every scored step but the last.
        first_scored: the step of the first score and the first weight.

    Attributes:
        population: the particles, as they were scored and resampled last.
        weights: theirs; at the end `weights.log_normaliser` estimates log E[exp(lambda r)].

    What is left of a budget that buys no further particle is spent on children of the best image's parent in the last
    step; they take no part in the weights.

    Raises:
        ValueError: for settings outside of their ranges.
    """

    name = "smc"

    slots: list[Node | None]
    """What the particles of the level under way go on from; None for seeds' noises."""
    population: list[Node]
    weights: Weights
    scores: np.ndarray
    """Along the particles' paths, (levels, particles)."""

    def __init__(
        self,
        particles: int | None = None,
        potential: Literal["difference", "max", "sum"] = "difference",
        tilt: float = 10.0,
        resampling: Literal["systematic", "multinomial"] = "systematic",
        ess: float = 0.5,
        resample_at: Sequence[int] | None = None,
        first_scored: int | None = None,
    ):
        check_at_least(1, particles=particles, first_scored=first_scored)
        for name, value, known in (("potential", potential, POTENTIALS), ("resampling", resampling, RESAMPLING)):
            if value not in known:
                raise ValueError(f"{name} is {value!r}; give one of {', '.join(known)}")
        if not 0 < ess <= 1:
            raise ValueError(f"ess is {ess}; give more than 0 and at most 1")
        check_at_least(0, tilt=tilt)
        self.particles, self.potential, self.tilt = particles, potential, tilt
        self.resampling, self.ess, self.resample_at = resampling, ess, resample_at
        self.first_scored = first_scored

    def begin(self) -> None:
        self.slots, self.population = [None], []
        self.weights, self.scores = Weights.even(1), np.zeros((0, 1))

    def _fit(self) -> None:
        """Let a level have as many particles as can be finished, and no fewer than were tried in it."""
        if (costs := self.costs()) is None or self._weighed:
            return
        tried, rest = len(self.here), sum(costs[self.level + 1 :])
        payable = max(1, tried, tried + (self.remaining - tried * rest) // (costs[self.level] + rest))
        if self.level == 0:
            count = payable if self.particles is None else max(tried, min(self.particles, payable))
            self.slots, self.weights, self.scores = [None] * count, Weights.even(count), np.zeros((0, count))
        elif payable < len(self.slots):  # later steps cost more than could be known
            self.slots, self.scores = self.slots[:payable], self.scores[:, :payable]
            self.weights = Weights(self.weights.log[:payable], self.weights.log_before)

    @property
    def _weighed(self) -> bool:
        """Whether the finished particles were weighed, so that only what is left remains to be spent."""
        return len(self.scores) == len(self.legs)

    def propose(self, count: int) -> list[Node]:
        if self.done:
            return []
        self._fit()
        tried = len(self.here)
        if self._weighed:
            parent = self.best.parent
            return [self.node(parent, tried + k) for k in range(min(count, self.room()))]
        return [self.node(self.slots[k], k) for k in range(tried, min(tried + count, len(self.slots)))]

    def needs_again(self, node: Node) -> bool:
        return len(node.legs) > self.level or node in self.slots

    def take(self, node: Node, score: float) -> None:
        self._fit()
        if self._weighed or len(self.here) < len(self.slots):
            return
        scores = np.asarray([score for _, score in self.here])
        self.scores = np.vstack([self.scores, scores])
        potential = log_potential(POTENTIALS[self.potential], self.scores, self.tilt, self.finishes)
        self.weights, self.population = self.weights.times(potential), [node for node, _ in self.here]
        if self.finishes:
            return
        count = len(self.population)
        listed = self.resample_at is None or self.step_of(self.level) in self.resample_at
        if listed and self.weights.effective_size < self.ess * count:
            draw = RESAMPLING[self.resampling]
            self.weights, ancestors = self.weights.resampled(draw, count, self.generator(self.level))
            self.population = [self.population[k] for k in ancestors]
            self.scores = self.scores[:, ancestors]
        self.slots = list(self.population)
        self.enter(self.level + 1)
