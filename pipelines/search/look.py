"""Early looks: what a verifier says of the clean predictions of a run, recorded beside the scores of its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...verifiers import Verifier


@dataclass(frozen=True)
class Look:
    """A verifier that measures on the way; it takes no part in the choice.

    Attributes:
        verifier: scores the decoded clean predictions.
        steps: after how many steps it looks, each from 1; None for each step.
    """

    verifier: Verifier
    steps: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and any(not isinstance(step, int) or step < 1 for step in self.steps):
            raise ValueError(f"a look's steps are {self.steps}; give numbers of steps made, from 1, or None for each")
        if self.verifier.needs_previews or self.verifier.needs_pool:
            raise ValueError(f"{self.verifier.name} has no score for one picture alone, so it cannot look at one")

    def name(self, step: int) -> str:
        """Name of the score after so many steps."""
        return look_name(self.verifier.name, step)

    def describe(self) -> dict[str, Any]:
        """Its description in `run.json`."""
        return {"verifier": self.verifier.identity(), "steps": None if self.steps is None else list(self.steps)}


def look_name(verifier: str, step: int) -> str:
    """Name of a verifier's score after so many steps."""
    return f"{verifier} after step {step}"


def steps_of(looks: Sequence[Look]) -> list[int] | None:
    """After how many steps a verifier looks; None for each step."""
    steps: set[int] = set()
    for look in looks:
        if look.steps is None:
            return None
        steps.update(look.steps)
    return sorted(steps)
