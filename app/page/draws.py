"""A finished picture of a run, with its score and the judge's words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .judged import Sight, sights


@dataclass(frozen=True)
class Draw:
    """A finished picture and what is known of it."""

    file: Path
    seed: int
    score: float
    sight: Sight | None

    @property
    def verdict(self) -> str | None:
        """What the judge says, in words; None where it was not asked."""
        if self.sight is None:
            return None
        word = {True: "right: ", False: "wrong: ", None: ""}[self.sight.right]
        return f"{word}{self.sight.words}"


def draw_of(candidate: Any, judge: Any, name: str | None) -> Draw:
    """A candidate's picture.

    Args:
        candidate: of a search with an output folder.
        judge: a verifier, or None.
        name: of the judge's score.
    """
    sight = sight_on(judge, candidate.image, candidate.prompt, candidate.scores.get(name))
    return Draw(candidate.source, candidate.seed, candidate.score, sight)


def sight_on(judge: Any, picture: Any, prompt: str, score: float | None) -> Sight | None:
    """What the judge says of a picture: in words where it can, else its score; None without a judge."""
    if judge is None:
        return None
    seen = sights(judge, [picture], prompt)
    return Sight.scored(judge.name, score) if seen is None else seen[0]
