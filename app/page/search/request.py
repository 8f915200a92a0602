"""What a visitor may ask of a search: checked before anything is loaded or written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...options import call_arguments, check_vocabulary
from ..limits import Limits, checked_prompt, one_of, optional, real, whole
from ..models import Models

AUTO = "auto"


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
