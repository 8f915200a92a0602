"""The exponentiated power law of success against the number of samples, with a ceiling.

    success(k) = ceiling * exp(a * x**b),   x = (k + offset) / (1 + offset),   a <= 0, b < 0

With a ceiling of 1 and no offset it is the law of repeated sampling that finds every success: log c = a k^b (Brown et
al., Large Language Monkeys, arXiv 2407.21787). An imperfect verifier chooses some false positives however many samples
it has, so its curve levels off below 1 (Stroebl et al., Inference Scaling fLaws, arXiv 2411.17501): the ceiling. With a
false-positive rate f every prompt soon has a sample that is taken, so the approach is geometric, by 1 - f a sample; a
power of k + offset has both limits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

HORIZON = 10_000
"""Samples beyond which a target counts as out of reach: as far as Brown et al. have measured."""

EXPONENTS = -np.geomspace(0.01, 5, 160)
CEILING_EXPONENTS = -np.geomspace(0.01, 8, 60)
OFFSETS = np.array([0, 1, 3, 10, 30, 100])
"""Values that a fit tries for b and for the offset; for each, the rest is linear."""


@dataclass(frozen=True)
class PowerLaw:
    """One law, or one law per curve: the fields are arrays of one shape.

    Attributes:
        a: log of the success of one sample over the ceiling; at most 0.
        b: exponent, below 0; near 0 more samples help slowly.
        ceiling: success as k grows.
        offset: 0 is a pure power of k, large values approach the ceiling geometrically.
    """

    a: np.ndarray
    b: np.ndarray
    ceiling: np.ndarray
    offset: np.ndarray

    def __call__(self, k: float | np.ndarray) -> np.ndarray:
        """Success of k samples; k broadcasts against the laws."""
        return self.ceiling * np.exp(self.a * _power(k, self.b, self.offset))

    def __getitem__(self, index: int) -> PowerLaw:
        return PowerLaw(self.a[index], self.b[index], self.ceiling[index], self.offset[index])

    def samples(self, target: float | np.ndarray) -> np.ndarray:
        """Smallest whole k whose success reaches the target; inf beyond `HORIZON`."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            x = np.power(np.log(target / self.ceiling) / self.a, 1 / self.b)
            # Rounding must not ask for one sample more than the law itself does.
            k = np.ceil((x * (1 + self.offset) - self.offset) * (1 - 1e-9))
        k = np.where(self(1) >= target, 1, np.where(self.ceiling > target, np.maximum(k, 1), np.inf))
        return np.where(k <= HORIZON, k, np.inf)


def fit_power_law(ks: np.ndarray, curves: np.ndarray, with_ceiling: bool) -> PowerLaw:
    """Fit a law to each curve by least squares.

    For each b and offset on a grid, log success is linear in x**b; weights of success squared make the squares those of
    success itself, to first order. Values of 0 have no logarithm and no weight; a curve of zeros gets a ceiling of 0.

    Args:
        ks: numbers of samples (points,), at least 1.
        curves: success at each, in [0, 1]; (curves, points).
        with_ceiling: fit the ceiling, at most 1, and the offset; otherwise they are 1 and 0.
    """
    grid = np.meshgrid(*((CEILING_EXPONENTS, OFFSETS) if with_ceiling else (EXPONENTS, [0])))
    exponents, offsets = (part.ravel().astype(float) for part in grid)
    x = _power(np.asarray(ks)[:, None], exponents, offsets)
    y = np.log(np.where(curves > 0, curves, 1))
    w = np.square(curves)
    wx, wxx, wxy = w @ x, w @ x**2, (w * y) @ x
    w1, wy, wyy = (np.sum(part, 1, keepdims=True) for part in (w, w * y, w * y * y))
    with np.errstate(divide="ignore", invalid="ignore"):
        a = np.nan_to_num(np.minimum(wxy / wxx, 0))
        c = np.zeros_like(a)  # log of the ceiling
        if with_ceiling:
            free_a = np.minimum((w1 * wxy - wx * wy) / (w1 * wxx - wx**2), 0)
            free_c = (wy - free_a * wx) / w1
            better = free_c < 0  # else the best ceiling allowed is 1
            a, c = np.where(better, free_a, a), np.where(better, free_c, c)
    squares = wyy - 2 * a * wxy - 2 * c * wy + a**2 * wxx + 2 * a * c * wx + c**2 * w1
    rows, best = np.arange(len(curves)), squares.argmin(1)
    ceiling = np.where((curves > 0).any(1), np.exp(c[rows, best]), 0.0)
    return PowerLaw(a[rows, best], exponents[best], ceiling, offsets[best])


def _power(k: float | np.ndarray, b: np.ndarray, offset: np.ndarray) -> np.ndarray:
    return np.power((k + offset) / (1 + offset), b)
