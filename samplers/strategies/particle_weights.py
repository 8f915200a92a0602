"""Weights of particles: how they are multiplied, how many particles they are worth, and how particles are resampled.

Written with numpy on (particles,), so that a search of four and a test of twenty thousand run the same code.
Reference: Chopin and Papaspiliopoulos, An Introduction to Sequential Monte Carlo, chapters 8 to 10.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Draw = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""Of weights that sum to 1: so many indices, index i as often as its weight says on average."""


def log_mean_exp(values: np.ndarray) -> float:
    """log((1 / n) sum_i exp(v_i)), for values that may be -inf."""
    values = np.asarray(values, dtype=np.float64)
    largest = values.max()
    return float(largest if np.isinf(largest) else largest + np.log(np.mean(np.exp(values - largest))))


def normalised(log_weights: np.ndarray) -> np.ndarray:
    """Weights that sum to 1; all alike where every particle has lost its own."""
    largest = log_weights.max()
    weights = np.ones_like(log_weights) if np.isneginf(largest) else np.exp(log_weights - largest)
    return weights / weights.sum()


def effective_size(log_weights: np.ndarray) -> float:
    """ESS = (sum_i w_i)^2 / sum_i w_i^2, from 1 to the number of particles."""
    return float(1 / np.square(normalised(log_weights)).sum())


def systematic(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Indices where the points (u + k) / count fall, u uniform on [0, 1): each floor or ceil of count w_i times."""
    points = (generator.random() + np.arange(count)) / count
    return np.minimum(np.searchsorted(np.cumsum(weights), points, side="right"), len(weights) - 1)


def multinomial(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Independent draws, in rising order."""
    return np.sort(generator.choice(len(weights), count, p=weights))


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights since the last resampling, and what the earlier ones amounted to.

    Attributes:
        log: (particles,).
        log_before: log of the normaliser's estimate up to the last resampling.
    """

    log: np.ndarray
    log_before: float = 0.0

    @classmethod
    def even(cls, count: int) -> Weights:
        """Before anything was observed."""
        return cls(np.zeros(count))

    @property
    def log_normaliser(self) -> float:
        """log of the estimate of E[prod_t G_t] over the proposals' paths; unbiased before the logarithm."""
        return self.log_before + log_mean_exp(self.log)

    @property
    def effective_size(self) -> float:
        return effective_size(self.log)

    def times(self, log_potentials: np.ndarray) -> Weights:
        """After a potential; it stays in the weights until particles are resampled, so none is lost between.

        Args:
            log_potentials: (particles,); where they are not finite, as from a score of -inf on, the weight is lost.
        """
        return Weights(self.log + np.where(np.isfinite(log_potentials), log_potentials, -np.inf), self.log_before)

    def resampled(self, draw: Draw, count: int, generator: np.random.Generator) -> tuple[Weights, np.ndarray]:
        """Even weights, and the particles' ancestors, (count,)."""
        ancestors = draw(normalised(self.log), count, generator)
        return Weights(np.zeros(count), self.log_normaliser), ancestors
