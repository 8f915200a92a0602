"""What a visitor may ask of a search: checked before anything is loaded or written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .models import Models
from .options import call_arguments, check_vocabulary

AUTO = "auto"


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


@dataclass(frozen=True)
class SearchRequest:
    """One search as `NoiseSearch` and the command line would be asked for it.

    Attributes:
        candidates: how many whole candidates the budget is worth.
        steps: of each; "auto" leaves them to the calibration, None to the model.
        judge: None for no judge.
    """

    model: str
    prompt: str
    verifier: str
    judge: str | None
    strategy: str
    candidates: int
    seed: int
    batch_size: int
    steps: int | str | None = None
    guidance_scale: float | None = None
    height: int | None = None
    width: int | None = None

    def check(self, models: Models, limits: Limits) -> SearchRequest:
        """The same request with numbers as Python has them.

        Raises:
            ValueError: for anything that is not offered or out of range, in one sentence.
        """
        one_of("model", self.model, models.pipelines)
        prompt = checked_prompt(self.prompt, limits)
        one_of("verifier", self.verifier, models.guides(self.model))
        one_of("judge", self.judge, [None, *models.judges(self.model)])
        if not isinstance(self.strategy, str):
            raise ValueError("the strategy is no text; name one")
        verifiers = [name for name in (self.verifier, self.judge) if name is not None]
        check_vocabulary([prompt], self.model, verifiers)
        auto = isinstance(self.steps, str) and self.steps.strip().lower() == AUTO
        if auto and not models.has_calibration(self.model):
            raise ValueError(f"{self.model} carries no calibration, which steps {AUTO!r} need; give a number of steps")
        asked = SearchRequest(
            self.model,
            prompt,
            self.verifier,
            self.judge,
            self.strategy,
            whole("budget", self.candidates, 1, limits.candidates, "candidates"),
            whole("seed", self.seed, 0, 2**31 - 1),
            whole("number of candidates in one call", self.batch_size, 1, limits.batch_size),
            AUTO if auto else optional(whole, "number of steps", self.steps, 1, limits.steps),
            optional(real, "guidance scale", self.guidance_scale, 0, 100),
            optional(whole, "height", self.height, 8, limits.side, "pixels"),
            optional(whole, "width", self.width, 8, limits.side, "pixels"),
        )
        steps = models.default_steps(self.model) if asked.steps in (None, AUTO) else asked.steps
        if asked.candidates * (steps or 1) > limits.total_steps:
            raise ValueError(
                f"the budget is {asked.candidates} candidates of {steps} steps; one visitor may ask for "
                f"{limits.total_steps:,} steps in all: take fewer of either"
            )
        return asked

    def arguments(self) -> dict[str, Any]:
        """Of the pipeline's call: the model's call defaults, and what was asked for over them."""
        return call_arguments(self.model, self.steps, self.guidance_scale, None, self.height, self.width)


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
