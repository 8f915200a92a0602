"""In what unit a pipeline hands the scheduler's time to a network, told by the value that arrived.

diffusers has no rule for it: t, t / 1000, (1000 - t) / 1000, 1 - t / 1000, t - 1, cast before the division or after.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

FORMS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "t": lambda t, n: t,
    "t / n": lambda t, n: t / n,
    "(n - t) / n": lambda t, n: (n - t) / n,
    "1 - t / n": lambda t, n: 1 - t / n,
    "n - t": lambda t, n: n - t,
    "t - 1": lambda t, n: t - 1,
}
"""How pipelines form a network's time of the scheduler's; written as they write it, so that the rounding is theirs."""

_WHOLE = ("t", "n - t", "t - 1")
"""Forms that a whole number can have."""

LARGEST = 1 << 16
"""Elements of an argument that may hold times (a time for each token included)."""


@dataclass(frozen=True)
class TimeUnit:
    """A form of the time.

    Attributes:
        form: one of FORMS.
        n: the whole span of times.
        cast_first: whether the scheduler's time is cast to the network's dtype before the form is applied, or after.
        exact: whether the value that arrived was met to the last bit.
    """

    form: str
    n: int
    cast_first: bool
    exact: bool = True

    def __call__(self, times: Tensor, like: Tensor) -> Tensor:
        """The scheduler's times in this unit, in the dtype and on the device of what arrived."""
        times = times.to(like.device)
        value = FORMS[self.form](times.to(like.dtype) if self.cast_first else times, self.n)
        return value.to(like.dtype)

    def where(self, arrived: Tensor, time: Tensor) -> Tensor:
        """Which elements of an argument are the scheduler's time."""
        value = self(time, arrived)
        return arrived == value if self.exact else torch.isclose(arrived, value, rtol=_tolerance(arrived), atol=0.0)


def fitting_units(arrived: Any, time: Tensor, spans: Sequence[int]) -> list[TimeUnit]:
    """The units in which an argument holds a time; those that meet it exactly, else those that do to rounding.

    Args:
        arrived: an argument of a network: a number, or a tensor that holds the time at one place or more.
        time: the scheduler's, 0-dimensional.
        spans: numbers of training times that the pipeline may divide by.
    """
    value = as_tensor(arrived)
    if value is None or value.numel() > LARGEST or value.dtype == torch.bool or value.is_complex():
        return []
    tried = [
        TimeUnit(form, n, cast_first, exact)
        for exact in (True, False)
        for form in (FORMS if value.is_floating_point() else _WHOLE)
        for n in spans
        for cast_first in ((False,) if time.dtype == value.dtype else (False, True))
    ]
    exact = [unit for unit in tried if unit.exact and unit.where(value, time).any()]
    if exact or not value.is_floating_point():
        return exact
    return [unit for unit in tried if not unit.exact and unit.where(value, time).any()]


def as_tensor(value: Any) -> Tensor | None:
    """A number or a tensor as a tensor; None for anything else."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return torch.tensor(value)


def _tolerance(value: Tensor) -> float:
    return 2 * torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
