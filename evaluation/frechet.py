"""The Fréchet distance of two sets of features, and how far it may be off: from means and covariances alone.

It is ours, because the libraries' take the root of an unsymmetric product and sum uncentred.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FeatureStatistics:
    """Mean and covariance of features, in float64, independent of the batches that they came in.

    `a + b` holds both sets. Parts are merged about their own means (Chan, Golub and LeVeque 1979), so a large common
    offset costs no digits.

    Attributes:
        count: rows.
        mean: (dim,).
        scatter: sum of (x - mean)(x - mean)^T, (dim, dim).
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> FeatureStatistics:
        """Statistics of features (rows, dim); of no rows they are zero."""
        features = features.detach().cpu().double()
        mean = features.sum(0) / max(len(features), 1)
        centred = features - mean
        return cls(len(features), mean, centred.T @ centred)

    def __add__(self, other: FeatureStatistics) -> FeatureStatistics:
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        shift = other.mean - self.mean
        scatter = self.scatter + other.scatter + (self.count * other.count / count) * torch.outer(shift, shift)
        return FeatureStatistics(count, self.mean + shift * (other.count / count), scatter)

    @property
    def covariance(self) -> Tensor:
        """Unbiased (divided by count - 1), (dim, dim)."""
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 images, not {self.count}")
        return self.scatter / (self.count - 1)


def frechet_distance(mean: Tensor, covariance: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    """Squared 2-Wasserstein distance of two Gaussians, Dowson and Landau 1982.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (R S2 R^T)^(1/2)), where R^T R = S1 has a row for each direction in which S1 has
    extent: R S2 R^T is symmetric and positive, so its roots are real, and a rank below dim does no harm.

    Args:
        mean, other_mean: (dim,).
        covariance, other_covariance: (dim, dim).
    """
    return _distance(mean.double(), _root(covariance.double()), other_mean.double(), other_covariance.double())


def frechet_error(real: FeatureStatistics, generated: Tensor, groups: int = 10) -> float:
    """Standard error of the Fréchet distance over generated sets of this size, the real set held fixed.

    Jackknife over `groups` parts: each distance is of nearly all images, so the bias that a small set has (the distance
    falls with the number of images) is the same in all, which it is not in bootstrap samples or in subsets.

    Args:
        real: statistics of the real set.
        generated: features (rows, dim), at least 3, in any order.

    Raises:
        ValueError: for fewer than 3 rows or 2 groups.
    """
    if len(generated) < 3 or groups < 2:
        raise ValueError(f"{len(generated)} images in {groups} groups; an error needs at least 3 images and 2 groups")
    groups = min(groups, len(generated))
    part = jackknife_parts(len(generated), groups)
    parts = [FeatureStatistics.of(generated[part == k]) for k in range(groups)]
    root = _root(real.covariance)
    distances = []
    for left_out in range(groups):
        rest = reduce(add, parts[:left_out] + parts[left_out + 1 :])
        distances.append(_distance(real.mean, root, rest.mean, rest.covariance))
    return float(np.std(distances) * (groups - 1) ** 0.5)


def jackknife_parts(rows: int, groups: int) -> Tensor:
    """Number of the part that each row falls in, (rows,), by a fixed shuffle.

    Sets often go round their classes, so that each tenth row in turn would leave out a class.
    """
    return torch.randperm(rows, generator=torch.Generator().manual_seed(0)) % groups


def _root(covariance: Tensor) -> Tensor:
    """R of shape (rank, dim) with R^T R = covariance; what rounding alone made is no direction."""
    values, vectors = torch.linalg.eigh(covariance)
    kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return values[kept].sqrt()[:, None] * vectors.T[kept]


def _distance(mean: Tensor, root: Tensor, other_mean: Tensor, other_covariance: Tensor) -> float:
    if mean.shape != other_mean.shape:
        raise ValueError(f"the features have {len(mean)} and {len(other_mean)} dimensions; take one extractor for both")
    shared = torch.linalg.eigvalsh(root @ other_covariance @ root.T).clamp(min=0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + root.square().sum() + other_covariance.trace() - 2 * shared
    return max(float(distance), 0.0)
