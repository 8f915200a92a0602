"""The answer of a run, first on the page: the prompt, the best picture beside the first draw, and the judge's words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path

from .draws import Draw
from .judged import Sight, verdict_html
from .pictures import Picture, empty_cell, figure


@dataclass(frozen=True)
class Shot:
    """A picture of the answer.

    Attributes:
        title: over it.
        file: None while it is still to come.
        seed: that drew it; None where that says nothing.
        score: by the verifier; NaN where there is none.
        sight: the judge's; None where it was not asked.
        marked: whether it is the chosen one.
        note: in place of the score.
    """

    title: str
    file: Path | None = None
    seed: int | None = None
    score: float = math.nan
    sight: Sight | None = None
    marked: bool = False
    note: str = ""

    @classmethod
    def of(cls, title: str, draw: Draw, marked: bool = False) -> Shot:
        """A finished picture."""
        return cls(title, draw.file, draw.seed, draw.score, draw.sight, marked)


def answer(asked: str, shots: list[Shot], said: str = "", judged: bool = True) -> str:
    """The panel at the top of a result column, of one height whatever has come.

    Args:
        asked: the prompt that the pictures belong to.
        shots: two pictures side by side, or one.
        said: a line under the prompt.
        judged: whether there is a place for a judge's words.
    """
    sections = "".join(_section(shot, asked, judged) for shot in shots)
    line = f'<p class="said">{escape(said) or "&nbsp;"}</p>'
    return (
        f'<section class="answer" aria-label="Result"><h2>{escape(asked)}</h2>{line}'
        f'<div class="pair">{sections}</div></section>'
    )


def _section(shot: Shot, asked: str, judged: bool) -> str:
    title, verdict = f"<h3>{escape(shot.title)}</h3>", verdict_html(shot.sight) if judged else ""
    if shot.file is None:
        return f"<section>{title}{empty_cell(shot.note)}{verdict}</section>"
    said = shot.note or (f"score {shot.score:.3f}" if math.isfinite(shot.score) else "")
    caption = ", ".join(filter(None, [said, "" if shot.seed is None else f"seed {shot.seed}"]))
    alt = f"{asked}, {shot.title.lower()}, {caption}"
    picture = Picture(shot.file, alt, caption, shot.marked, sight=shot.sight, seed=shot.seed)
    return f"<section>{title}{figure(picture)}{verdict}</section>"
