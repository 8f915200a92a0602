"""What a set of prompts says of a method, and of one method against another: bootstrap over prompts.

Every interval is the percentile bootstrap of `scipy.stats.bootstrap`: prompts are drawn anew with replacement, all
numbers of a prompt together, and the interval holds the middle 95 % of what the drawn sets give (Efron 1979). Of means
of Gaussians it covers the true one in 93 % of sets of 20 prompts, and in 94 % of sets of 50 and of 200; of differences
of successes in 94 to 95 %. BCa covered no more of either, and has no value where all prompts are alike. Every draw has
a generator of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95
"""Confidence of every interval."""

_HELD = 2**22
"""Resampled numbers that are held at once."""


@dataclass(frozen=True)
class Estimate:
    """A number of a set of prompts and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def bootstrap_mean(values: np.ndarray | Sequence[float], repeats: int = 10_000, seed: int = 0) -> Estimate:
    """Mean over prompts and its interval.

    Args:
        values: one per prompt, (prompts,). Where all are equal, or there is a single prompt, the interval is a point.
        repeats: resampled sets of prompts.
        seed: of the resampling.

    Raises:
        ValueError: for no prompt, or a value that is not finite.
    """
    return _estimate(_mean, [values], repeats, seed)


def paired_difference(
    values: np.ndarray | Sequence[float],
    rival: np.ndarray | Sequence[float],
    repeats: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Mean of values - rival over prompts that both methods had, and its interval.

    Paired: what a prompt makes easy or hard for both methods cancels, so the interval is narrower than that of two
    independent sets. It holds 0 where the prompts do not tell the two apart.

    Args:
        values, rival: one per prompt, in the same order of prompts, (prompts,).
        repeats, seed: as for `bootstrap_mean`.

    Raises:
        ValueError: for no prompt, unequal numbers of prompts, or a value that is not finite.
    """
    first, second = _checked([values, rival])
    return bootstrap_mean(first - second, repeats, seed)


def ratio_of_means(
    numerators: np.ndarray | Sequence[float],
    denominators: np.ndarray | Sequence[float],
    repeats: int = 10_000,
    seed: int = 0,
) -> Estimate:
    """Mean of the numerators over mean of the denominators, paired by prompt, and its interval.

    Args:
        numerators, denominators: one of each per prompt, (prompts,); the denominators at least 0.
        repeats, seed: as for `bootstrap_mean`. Where a resampled set has denominators of 0 alone, the interval is open
            on both sides.

    Raises:
        ValueError: for no prompt, unequal numbers of prompts, a value that is not finite, a denominator below 0, or
            denominators that are all 0.
    """
    if np.min(denominators, initial=0) < 0 or not np.any(denominators):
        raise ValueError("a ratio of means needs denominators of at least 0, and not all of them 0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)  # an open interval says so
        ratio = _estimate(_ratio, [numerators, denominators], repeats, seed)
    return ratio if np.isfinite([ratio.low, ratio.high]).all() else Estimate(ratio.mean, -np.inf, np.inf)


def resampled_means(values: np.ndarray, repeats: int, seed: int) -> np.ndarray:
    """Means of several quantities over resampled sets of prompts, (repeats, quantities); a set is the same for all.

    Args:
        values: (prompts, quantities), of at least 2 prompts.
        repeats: resampled sets.
        seed: of the resampling.
    """
    return _bootstrap(_means, list(np.asarray(values).T), repeats, seed).bootstrap_distribution.T


def _mean(values: np.ndarray, axis: int) -> np.ndarray:
    return values.mean(axis)


def _means(*values: np.ndarray, axis: int) -> np.ndarray:
    return np.stack([column.mean(axis) for column in values])


def _ratio(numerators: np.ndarray, denominators: np.ndarray, axis: int) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return numerators.mean(axis) / denominators.mean(axis)


def _checked(samples: Sequence[np.ndarray | Sequence[float]]) -> list[np.ndarray]:
    arrays = [np.asarray(sample, float) for sample in samples]
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1 or arrays[0].ndim != 1 or not arrays[0].size:
        given = " and ".join(str(array.shape) for array in arrays)
        raise ValueError(f"the values have shape {given}; give one value per prompt, (prompts,), of the same prompts")
    if bad := sum(int((~np.isfinite(array)).sum()) for array in arrays):
        raise ValueError(f"{bad} values are NaN or infinite; leave their prompts out, or count them as the worst")
    return arrays


def _estimate(
    statistic: Callable[..., np.ndarray], samples: Sequence[np.ndarray | Sequence[float]], repeats: int, seed: int
) -> Estimate:
    arrays = _checked(samples)
    whole = float(statistic(*arrays, axis=-1))
    if all(np.ptp(array) == 0 for array in arrays):  # of one prompt, too
        return Estimate(whole, whole, whole)
    low, high = _bootstrap(statistic, arrays, repeats, seed).confidence_interval
    return Estimate(whole, float(low), float(high))


def _bootstrap(statistic: Callable[..., np.ndarray], arrays: list[np.ndarray], repeats: int, seed: int) -> Any:
    with np.errstate(invalid="ignore"):  # percentiles between infinities
        return stats.bootstrap(
            arrays,
            statistic,
            n_resamples=repeats,
            batch=max(1, min(repeats, _HELD // sum(array.size for array in arrays))),
            vectorized=True,
            paired=True,
            confidence_level=LEVEL,
            method="percentile",
            rng=np.random.default_rng(seed),
        )
