"""A finished picture of a run, with its score and the judge's words."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from .pictures import Picture, figure


@dataclass(frozen=True)
class Draw:
    """A finished picture and what is known of it."""

    file: Path
    seed: int
    score: float
    verdict: str | None


def draw_of(candidate: Any, judge: Any, name: str | None) -> Draw:
    """A candidate's picture.

    Args:
        candidate: of a search with an output folder.
        judge: a verifier, or None.
        name: of the judge's score.
    """
    verdict = verdict_on(judge, candidate.image, candidate.prompt, candidate.scores.get(name))
    return Draw(candidate.source, candidate.seed, candidate.score, verdict)


def verdict_on(judge: Any, picture: Any, prompt: str, score: float | None) -> str | None:
    """What the judge says of a picture: in words where it can, else its score."""
    if judge is None:
        return None
    if not hasattr(judge, "verdicts"):
        return f"{judge.name}: {'no score' if score is None else f'{score:.3f}'}"
    verdict = judge.verdicts([picture], [prompt])[0]
    return f"{'right' if verdict.right else 'wrong'}: {verdict}"


def draw_section(title: str, draw: Draw, prompt: str, marked: bool) -> str:
    """A picture under its title, with the verdict, as HTML."""
    score = f"score {draw.score:.3f}, seed {draw.seed}"
    picture = figure(Picture(draw.file, f"{prompt}, {title.lower()}, {score}", score, marked))
    verdict = "" if draw.verdict is None else f'<p class="verdict">{_coloured(draw.verdict)}</p>'
    return f"<section><h3>{escape(title)}</h3>{picture}{verdict}</section>"


def _coloured(verdict: str) -> str:
    for word in ("right", "wrong"):
        if verdict.startswith(f"{word}: "):
            return f'<strong class="{word}">The judge says {word}.</strong> {escape(verdict[len(word) + 2 :])}'
    return escape(verdict)
