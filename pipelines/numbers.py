"""Numbers that no pipeline takes are refused before anything is loaded. No torch is imported."""

from __future__ import annotations

from math import isfinite
from typing import Any

LARGEST_SEED = 2**62
"""Generators take 64 bits, and the prompts of a list have seeds of their own above the first."""


def check_numbers(**numbers: Any) -> None:
    """Check numbers by their names; None is one that was not given.

    Args:
        numbers: `seed`; `guidance_scale`, `stop_at` (any finite number); whatever else is a whole number from 1.

    Raises:
        ValueError: naming the number.
    """
    for name, value in numbers.items():
        if value is None:
            continue
        if name in ("guidance_scale", "stop_at"):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
                raise ValueError(f"{name} is {value!r}; give a number")
            continue
        least = 0 if name == "seed" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")
    if (seed := numbers.get("seed")) is not None and seed > LARGEST_SEED:
        raise ValueError(f"seed is {seed}; give at most {LARGEST_SEED}: generators take 64 bits")
