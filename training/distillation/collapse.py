"""Alarms of distillation: a student that makes the same thing again and again, a fake score that lags behind."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

LEAST_SPREAD = 0.5
"""Of the reference's spread, below which samples are called collapsed."""

LEAST_SHARE = 0.5
"""Of an even share, below which a class is called lost."""


def spread(samples: Tensor) -> Tensor:
    """How far samples (n, ...) lie from each other: the root of their variance over n, the mean over all elements."""
    return samples.flatten(1).var(0).mean().sqrt()


def spread_alarm(samples: Tensor, reference: float) -> str | None:
    """A sentence where samples are much more alike than a reference's; None where they are not.

    Args:
        samples: of different noises, with the conditions that the reference has.
        reference: its `spread`.
    """
    if (found := float(spread(samples))) >= LEAST_SPREAD * reference:
        return None
    return f"samples spread over {found:.3g} where the teacher's do over {reference:.3g}: the student collapses"


def lost_classes(counts: Mapping[str, int]) -> str | None:
    """A sentence that names the classes which a classifier hardly finds in samples of evenly drawn labels.

    Args:
        counts: samples that it takes for each class.
    """
    even = sum(counts.values()) / max(len(counts), 1)
    lost = [name for name, count in counts.items() if count < LEAST_SHARE * even]
    return f"hardly any sample is taken for {', '.join(lost)}: the student collapses" if lost else None


def lag_alarm(error: float, least: float, factor: float = 2.0) -> str | None:
    """A sentence where the fake score's error has risen far above its least; None where it has not."""
    if error <= factor * least:
        return None
    return f"the fake score's error is {error:.3g} after {least:.3g}: it lags, give it more updates or a higher rate"
