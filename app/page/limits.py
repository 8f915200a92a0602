"""What one visitor may ask for: limits, and checks of what came that end in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limits:
    """Most that one visitor may ask for at once, and how many may wait."""

    candidates: int = 64
    steps: int = 100
    total_steps: int = 3200
    batch_size: int = 16
    side: int = 1536
    prompt: int = 400
    in_line: int = 16


def checked_prompt(prompt: Any, limits: Limits) -> str:
    """A prompt without the spaces around it.

    Raises:
        ValueError: for an empty or very long one.
    """
    if not isinstance(prompt, str) or not prompt.strip():
        raise ValueError("the prompt is empty; say what to draw")
    if len(prompt) > limits.prompt:
        raise ValueError(f"the prompt has {len(prompt):,} characters; write at most {limits.prompt}")
    return prompt.strip()


def one_of(name: str, value: Any, offered: Sequence[Any]) -> None:
    """Let pass what the page offers.

    Raises:
        ValueError: for anything else; it lists what there is.
    """
    if value not in offered:
        known = ", ".join(str(one) for one in offered if one is not None)
        raise ValueError(f"no {name} {str(value)[:80]!r} on this page; it has {known}")


def whole(name: str, value: Any, least: int, most: int, unit: str = "") -> int:
    """A whole number in a range.

    Raises:
        ValueError: for anything else, NaN included.
    """
    number = real(name, value, least, most, unit)
    if number != int(number):
        raise ValueError(f"the {name} is {value}; give a whole number{_range(least, most, unit)}")
    return int(number)


def real(name: str, value: Any, least: float, most: float, unit: str = "") -> float:
    """A finite number in a range.

    Raises:
        ValueError: for anything else, NaN included.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"the {name} is no number; give one{_range(least, most, unit)}")
    if not least <= value <= most:  # NaN is in no range
        raise ValueError(f"the {name} is {str(value)[:20]}; give a number{_range(least, most, unit)}")
    return float(value)


def optional(check: Any, name: str, value: Any, *limits: Any) -> Any:
    """A number that may be left out, as a text field gives it: None where nothing is written, else checked."""
    if isinstance(value, str):
        try:
            value = float(value) if value.strip() else None
        except ValueError:
            raise ValueError(f"the {name} is {value[:20]!r}; give a number{_range(*limits)}") from None
    return None if value is None else check(name, value, *limits)


def _range(least: float, most: float, unit: str = "") -> str:
    return f" from {least:g} to {most:g} {unit}".rstrip()
