"""What the guidance tab shows, as HTML: plain guidance beside the best other way, and a row for each way."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from .... import assets
from ..answer import Shot, answer
from ..controls import seconds_text
from ..judged import Sight, right_of
from ..ledger import numbers_html
from ..on_the_way import OnTheWay
from ..pictures import Picture, grid, notice
from ..words import term
from .comparison import Comparison, GuidanceRequest, Made

PLAIN, OTHER = "Guidance", "Best other way"


def panel(made: list[Made], request: GuidanceRequest, drawing: OnTheWay | None = None) -> str:
    """The panel at the top: the first picture of plain guidance, and of the best other way, from the same noise.

    Which is best the judge's count says, and of equals, or without a judge, the cost.

    Args:
        made: by each way, as far as they have come.
        request: that is answered.
        drawing: a picture of plain guidance on its way.
    """
    drawn = [one for one in made if one.files]
    best = max(drawn, key=_worth, default=None)
    others = [one for one in drawn if one.way.hook is not None]
    shots = [Shot(title, note="will stand here") for title in (PLAIN, OTHER)]
    if drawing is not None:
        shots[0] = Shot("Being drawn", drawing.file, request.seed, note=f"step {drawing.step}")
    if drawn and drawn[0].way.hook is None:
        shots[0] = _shot(drawn[0], request, drawn[0] is best)
    if others:
        other = max(others, key=_worth)
        shots[1] = _shot(other, request, other is best)
    counted = [f"{one.way.title} {right_of(one.seen)}" for one in made if one.seen]
    return answer(request.prompt, shots, f"The judge: {', '.join(counted)}." if counted else "")


def _worth(made: Made) -> tuple[int, float]:
    return sum(sight.right is True for sight in made.seen or ()), -made.nfe


def _shot(made: Made, request: GuidanceRequest, marked: bool) -> Shot:
    sight = None if made.seen is None else made.seen[0]
    return Shot(made.way.title, made.files[0], request.seed, sight=sight, marked=marked, note=f"{made.nfe:g} NFEs")


def summary(comparison: Comparison) -> str:
    """The end in one line."""
    made = [one for one in comparison.made if one.refused is None]
    return f"{comparison.request.images} noises, guided in {len(made)} ways."


def ways(made: list[Made], request: GuidanceRequest) -> str:
    """A row for each way: what it is, its pictures, what it cost; those that are to come are empty."""
    rows = []
    for number, way in enumerate(request.ways):
        one = made[number] if number < len(made) else None
        title = f"<h3>{escape(way.title)}: {escape(way.says)}</h3>"
        rows.append(f"<section>{title}{_content(one, request)}</section>")
    if assets.weak_model(request.model) is None:
        rows.append(
            notice(
                f"Fast and slow steps need a weak model, and none ships with {request.model}; `samplesmith collect` "
                "and `samplesmith reflect` make one."
            )
        )
    return "".join(rows)


def _content(made: Made | None, request: GuidanceRequest) -> str:
    if made is None:
        return grid([], request.images, "to come")
    if made.refused is not None:
        return notice(made.refused, "wrong")
    seen: Sequence[Sight | None] = made.seen or [None] * len(made.files)
    pictures = [
        Picture(
            file,
            f"{request.prompt}, {made.way.title.lower()}, seed {request.seed + k}",
            f"seed {request.seed + k}",
            sight=sight,
            seed=request.seed + k,
        )
        for k, (file, sight) in enumerate(zip(made.files, seen, strict=True))
    ]
    cost = {
        f"{term('NFE', 'NFEs')} for each": f"{made.nfe:g}",
        "time": seconds_text(made.seconds),
        "judge": right_of(seen),
    }
    return f"{grid(pictures, request.images, made.way.title)}{numbers_html(cost)}"
