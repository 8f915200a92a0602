"""The kernel distance of two sets of features without subsets: it has no bias, however few the images are."""

from __future__ import annotations

import torch
from torch import Tensor


def kernel_distance(real: Tensor, generated: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy with KID's kernel, (x y / dim + 1)^3.

    Bińkowski et al., arXiv 1801.01401, equation 4 and section 4. Its mean is 0 for equal distributions, so it may be
    below 0; means over pairs of sets are unbiased too, where those of Fréchet distances are not.

    Args:
        real, generated: features, (rows, dim), of at least 2 rows each.

    Raises:
        ValueError: for fewer rows, or features of unequal dimensions.
    """
    if min(len(real), len(generated)) < 2 or real.ndim != 2 or real.shape[1:] != generated.shape[1:]:
        raise ValueError(
            f"features of shapes {tuple(real.shape)} and {tuple(generated.shape)}; give at least 2 rows of each, as "
            "wide as each other"
        )
    real, generated = real.double(), generated.double()
    within = sum(_mean_of_others(_kernel(one, one)) for one in (real, generated))
    return float(within - 2 * _kernel(real, generated).mean())


def _kernel(one: Tensor, other: Tensor) -> Tensor:
    return (one @ other.mT / one.shape[1] + 1) ** 3


def _mean_of_others(kernel: Tensor) -> Tensor:
    """Over pairs of different rows."""
    count = len(kernel)
    return (kernel.sum() - torch.trace(kernel)) / (count * (count - 1))
