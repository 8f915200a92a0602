"""What the judge sees in pictures: a tick or a cross, its words, and the boxes of what it found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of a picture's width and height."""

SEE = '<button type="button" class="toggle" data-toggle="see" aria-pressed="false">Show what the judge sees</button>'
"""Shows the boxes of all pictures, and hides them again (`page.js`)."""

_SIDE = 128.0
"""Pixels of the side to which detectors say their positions."""


@dataclass(frozen=True)
class Found:
    """A thing in a picture.

    Attributes:
        name: of the object; what is malformed is no object.
        box: where.
        malformed: whether it is none of the objects, though it looks like one.
    """

    name: str
    box: Box
    malformed: bool = False


@dataclass(frozen=True)
class Sight:
    """What a judge says of a picture.

    Attributes:
        right: whether the picture is what was asked for; None where the judge gives no such answer.
        words: what it found.
        found: where, from a judge that says so.
    """

    right: bool | None
    words: str
    found: tuple[Found, ...] = ()

    def __str__(self) -> str:
        said = {True: "the judge says right: ", False: "the judge says wrong: ", None: ""}[self.right]
        return f"{said}{self.words}"

    @classmethod
    def of(cls, verdict: Any) -> Sight:
        """From a `Verdict` of the detector."""
        seen = verdict.sighting
        found = [Found(spot.object, _shares(spot.box)) for spot in seen.found]
        found += [Found(spot.object, _shares(spot.box), malformed=True) for spot in seen.malformed]
        return cls(verdict.right, str(verdict), tuple(found))

    @classmethod
    def scored(cls, name: str, score: float | None) -> Sight:
        """Of a judge that says a number alone."""
        return cls(None, f"{name}: {'no score' if score is None else f'{score:.3f}'}")


def sights(judge: Any, pictures: Sequence[Any], prompt: str) -> list[Sight] | None:
    """What a judge sees in finished pictures; None from one that has no words.

    It is asked for the page alone: no ledger counts it.
    """
    if not pictures or not hasattr(judge, "verdicts"):
        return None
    return [Sight.of(verdict) for verdict in judge.verdicts(list(pictures), [prompt] * len(pictures))]


def right_of(all_seen: Iterable[Sight | None]) -> str:
    """How many are right, such as "3 of 16 right"; empty where the judge said nothing of the kind."""
    answers = [one.right for one in all_seen if one is not None and one.right is not None]
    return f"{sum(answers)} of {len(answers)} right" if answers else ""


def tick_of(right: bool | None) -> str:
    """A tick or a cross, as HTML; the picture's own text says it to those who do not see it."""
    if right is None:
        return ""
    sign, word = ("✓", "right") if right else ("✗", "wrong")
    return f'&nbsp;<span class="tick {word}" title="the judge says {word}" aria-hidden="true">{sign}</span>'


def verdict_html(sight: Sight | None) -> str:
    """The judge's words as a line under a picture; an empty line where there are none."""
    if sight is None:
        return '<p class="verdict">&nbsp;</p>'
    if sight.right is None:
        return f'<p class="verdict">{escape(sight.words)}</p>'
    word = "right" if sight.right else "wrong"
    return f'<p class="verdict"><strong class="{word}">The judge says {word}.</strong> {escape(sight.words)}</p>'


def boxes_svg(sight: Sight) -> str:
    """What was found, to be laid over the picture; hidden until the visitor asks to see it."""
    if not sight.found:
        return ""
    parts = []
    for one in sight.found:
        left, top, right, bottom = (100 * side for side in one.box)
        if right - left < 1:  # a detector of older weights knows centres alone
            left, top, right, bottom = left - 2, top - 2, right + 2, bottom + 2
        kind = "malformed" if one.malformed else "whole"
        parts.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}"/>'
            f'<text x="{max(left, 1):.1f}" y="{max(top - 1, 7):.1f}">{escape(one.name)}</text>'
        )
    return (
        f'<svg class="boxes" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{"".join(parts)}</svg>'
    )


def _shares(box: Box) -> Box:
    left, top, right, bottom = box
    return left / _SIDE, top / _SIDE, right / _SIDE, bottom / _SIDE
