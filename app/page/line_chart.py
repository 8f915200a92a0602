"""A small chart as SVG: in the page's own colours, light and dark, drawn anew in no time and readable on a phone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

Point = tuple[float, float]

WIDTH, HEIGHT = 480, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 22, 26, 42


@dataclass(frozen=True)
class Series:
    """What is drawn: points in data units, in order of x.

    Attributes:
        look: "dots", "rings", a "line" from point to point, or "steps", which hold a value until the next.
        tone: number of its colour, 0 to 2.
        labels: what a dot says under the mouse.
    """

    name: str
    points: Sequence[Point]
    look: Literal["dots", "rings", "line", "steps"] = "line"
    tone: int = 0
    labels: Sequence[str] = ()


def line_chart(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    description: str = "",
) -> str:
    """Draw series over each other.

    Args:
        series: the last one lies on top.
        x_label, y_label: of the axes.
        x_range: fixed, so that a growing chart does not move; None: that of the points.
        description: for readers who do not see it.

    Returns:
        SVG; without points an empty frame of the same size.
    """
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points if math.isfinite(y)]
    low_x, high_x = x_range or _span(xs)
    low_y, high_y = _span(ys, 0.06)

    def place(x: float, y: float) -> Point:
        across = (x - low_x) / (high_x - low_x) * (WIDTH - _LEFT - _RIGHT)
        up = (y - low_y) / (high_y - low_y) * (HEIGHT - _TOP - _BOTTOM)
        return round(_LEFT + across, 1), round(HEIGHT - _BOTTOM - up, 1)

    ticks = (_ticks(low_x, high_x), _ticks(low_y, high_y)) if ys else ([], [])
    parts = _axes(place, *ticks, x_label, y_label)
    offset = _LEFT
    for one in series:
        finite = [(k, place(x, y)) for k, (x, y) in enumerate(one.points) if math.isfinite(y)]
        spots = [spot for _, spot in finite]
        if one.look in ("dots", "rings"):
            for k, (x, y) in finite:
                title = f"<title>{escape(one.labels[k])}</title>" if k < len(one.labels) else ""
                look = " ring" * (one.look == "rings")
                parts.append(f'<circle class="tone{one.tone}{look}" cx="{x}" cy="{y}" r="4">{title}</circle>')
        elif spots:
            corners = _steps(spots) if one.look == "steps" else spots
            path = " ".join(f"{x},{y}" for x, y in corners)
            parts.append(f'<polyline class="tone{one.tone}" points="{path}"/>')
        if one.name:
            look = " ring" * (one.look == "rings")
            parts.append(f'<circle class="tone{one.tone}{look}" cx="{offset + 5}" cy="12" r="4"/>')
            parts.append(f'<text x="{offset + 13}" y="16">{escape(one.name)}</text>')
            offset += 26 + 8 * len(one.name)
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(description)}">'
        f"{''.join(parts)}</svg>"
    )


def _span(values: Sequence[float], margin: float = 0.0) -> tuple[float, float]:
    """A range around values, never empty."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = (high - low) * margin or (abs(high) * 0.1 or 1.0) * (low == high)
    return low - room, high + room


def _steps(spots: Sequence[Point]) -> list[Point]:
    corners = [spots[0]]
    for x, y in spots[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    return corners


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers in a range."""
    raw = (high - low) / 4
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= raw)
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _axes(
    place: Callable[[float, float], Point], xs: Sequence[float], ys: Sequence[float], x_label: str, y_label: str
) -> list[str]:
    parts, bottom = [], HEIGHT - _BOTTOM
    for value in ys:
        _, y = place(0, value)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text text-anchor="end" x="{_LEFT - 6}" y="{y + 4}">{value:.4g}</text>')
    for value in xs:
        x, _ = place(value, 0)
        parts.append(f'<text text-anchor="middle" x="{x}" y="{bottom + 16}">{value:,.6g}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>')
    middle = (_TOP + bottom) / 2
    parts.append(f'<text text-anchor="middle" x="{(_LEFT + WIDTH) / 2}" y="{HEIGHT - 5}">{escape(x_label)}</text>')
    parts.append(f'<text text-anchor="middle" transform="translate(12 {middle}) rotate(-90)">{escape(y_label)}</text>')
    return parts
