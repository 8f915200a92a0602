"""Quantiles of the scores that candidates have at a step, as a calibration has measured them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def quantile_at(quantiles: Mapping[int, Sequence[float]], step: int, share: float) -> float:
    """The score below which a share of the candidates lies after so many steps.

    Args:
        quantiles: of the scores by the number of steps made, at even shares from 0 (the lowest) to 1 (the highest);
            steps between those that are known are interpolated, and beyond them the nearest holds.
        step: the number of steps made.
        share: from 0 to 1.
    """
    steps = sorted(quantiles)
    known = [np.interp(share, np.linspace(0, 1, len(quantiles[one])), quantiles[one]) for one in steps]
    return float(np.interp(step, steps, known))
