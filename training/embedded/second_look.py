"""A second look at labels: what an eye said of the pictures that `explanation.py` had labelled, sprite by sprite.

Drawing a picture again from the atlas finds what is melted, but not a broken handle of three pixels or a face whose
mouth is gone. `second_look.json` holds where an eye disagreed, for the run of pictures of one generator.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ...scenes import Sprite
from .generated_scenes import GeneratedScene

FILE = Path(__file__).with_name("second_look.json")
REACH = 6
"""Pixels within which the middle of a sprite is the one that was meant: another machine finds it a little elsewhere."""

Grade = Literal["whole", "malformed", "doubtful"]


@dataclass(frozen=True)
class Correction:
    """What is at one place of a picture.

    Attributes:
        picture: its number in the run.
        x, y: of the middle, in pixels.
        size: in pixels.
        grade: what it is; something that is no sprite of the atlas and "whole" is nothing.
    """

    picture: int
    x: float
    y: float
    size: int
    grade: Grade


def read_corrections(generator: str, seed: int, file: Path = FILE) -> list[Correction]:
    """The corrections of a run; none where they are another generator's or seed's.

    Args:
        generator: hash of the denoiser that drew the pictures.
        seed: of the run.
        file: that holds them.
    """
    written = json.loads(file.read_text())
    if (written["generator"], written["seed"]) != (generator, seed):
        return []
    return [Correction(*one) for one in written["corrections"]]


def corrected(generated: Sequence[GeneratedScene], corrections: Iterable[Correction]) -> list[GeneratedScene]:
    """The pictures with what the eye said in place of their labels; corrections of others are passed over."""
    pictures = list(generated)
    for correction in corrections:
        if correction.picture < len(pictures):
            pictures[correction.picture] = _corrected(pictures[correction.picture], correction)
    return pictures


def _corrected(picture: GeneratedScene, correction: Correction) -> GeneratedScene:
    seen = [*picture.sprites, *picture.malformed, *picture.doubtful]
    meant = min(seen, key=lambda sprite: _distance(sprite, correction), default=None)
    if meant is None or _distance(meant, correction) > REACH:
        half = correction.size / 2
        meant = Sprite("stray", round(correction.x - half), round(correction.y - half), correction.size)
    grades: dict[str, list[Sprite]] = {
        name: [sprite for sprite in sprites if sprite is not meant]
        for name, sprites in (
            ("whole", picture.sprites),
            ("malformed", picture.malformed),
            ("doubtful", picture.doubtful),
        )
    }
    if not (correction.grade == "whole" and meant.object == "stray"):
        grades[correction.grade].append(meant)
    whole, malformed, doubtful = (tuple(sprites) for sprites in grades.values())
    return replace(picture, sprites=whole, malformed=malformed, doubtful=doubtful)


def _distance(sprite: Sprite, correction: Correction) -> float:
    x, y = sprite.center
    return max(abs(x - correction.x), abs(y - correction.y))
