"""What is accumulated of features, as metrics of torchmetrics: it gathers the states of all processes.

torchmetrics' own FID sums uncentred, which costs digits under a common offset, and takes the root of an unsymmetric
product; hence states of ours. They hold what each process has seen, and are merged when all are together, as those of
torchmetrics' own correlation coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from .frechet import FeatureStatistics


class FeatureMoments(Metric):
    """Number, mean and scatter of features, in float64.

    `compute` gives a dict: "count"; "mean", (dim,); and "scatter", the sum of (x - mean)(x - mean)^T, (dim, dim). They
    do not depend on batches, nor on which process had which rows, and are on the CPU.

    Args:
        dim: of the features, the same in all processes.
        kwargs: of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    count: Tensor
    mean: Tensor
    scatter: Tensor

    def __init__(self, dim: int, **kwargs: Any):
        super().__init__(**kwargs)
        # None: states are stacked, one of each process; a sum would have to be about one point.
        self.add_state("count", torch.tensor(0), dist_reduce_fx=None)
        self.add_state("mean", torch.zeros(dim, dtype=torch.float64), dist_reduce_fx=None)
        self.add_state("scatter", torch.zeros(dim, dim, dtype=torch.float64), dist_reduce_fx=None)

    def update(self, features: Tensor) -> None:
        """Add features (rows, dim), of any number of rows."""
        merged = self._merged() + FeatureStatistics.of(features)
        self.count = torch.tensor(merged.count, device=self.device)
        self.mean, self.scatter = merged.mean.to(self.device), merged.scatter.to(self.device)

    def compute(self) -> dict[str, Tensor]:
        merged = self._merged()
        return {"count": torch.tensor(merged.count), "mean": merged.mean, "scatter": merged.scatter}

    def _merged(self) -> FeatureStatistics:
        if self.count.ndim == 0:  # of this process alone
            return FeatureStatistics(int(self.count), self.mean.cpu(), self.scatter.cpu())
        parts = zip(self.count.tolist(), self.mean.cpu(), self.scatter.cpu(), strict=True)
        return reduce(add, (FeatureStatistics(*part) for part in parts))


class FeatureRows(Metric):
    """Rows of features, in the order of their numbers.

    `compute` gives (rows, dim).

    Args:
        kwargs: of `torchmetrics.Metric`.
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    rows: list[Tensor]
    numbers: list[Tensor]

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.add_state("rows", [], dist_reduce_fx="cat")
        self.add_state("numbers", [], dist_reduce_fx="cat")

    def update(self, features: Tensor, numbers: Sequence[int] | None = None) -> None:
        """Add features.

        Args:
            features: (rows, dim). Every process needs to add some, if only of 0 rows.
            numbers: which row of the whole set each is; None: rows stay in the order of their processes, and in each
                as they came.

        Raises:
            ValueError: where rows and numbers differ in number.
        """
        placed = torch.zeros(len(features), dtype=torch.int64) if numbers is None else torch.tensor(list(numbers))
        if len(placed) != len(features):
            raise ValueError(f"there are {len(features)} rows of features but {len(placed)} numbers; give one per row")
        self.rows.append(features)
        self.numbers.append(placed.long().to(features.device))

    def compute(self) -> Tensor:
        return dim_zero_cat(self.rows)[dim_zero_cat(self.numbers).argsort(stable=True)]
