"""Diversity of what searches choose: a search that always finds the same picture has lost the point of sampling."""

from __future__ import annotations

import numpy as np


def diversity(choices: np.ndarray) -> float:
    """Mean pairwise cosine distance of the images that independent searches of one prompt choose; in [0, 2].

    Args:
        choices: normalised features, (searches, dim), at least two. Where a search's choice is a draw (best-of-k over
            the subsets of a pool), the expectation of its features: the distance is linear in each of the two, so it is
            the expected one. Pools must not share candidates.

    Raises:
        ValueError: for less than two searches.
    """
    if len(choices) < 2:
        raise ValueError(f"{len(choices)} searches have no distance between them; give at least 2")
    products = choices @ choices.T
    count = len(choices)
    return float(1 - (products.sum() - np.trace(products)) / (count * (count - 1)))
