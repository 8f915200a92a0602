"""Many small pictures on one sheet, each with lines under it."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

_GAP, _LINE = 6, 16
_PAPER, _INK, _MARK, _DISPUTE = "white", "black", (20, 140, 60), (210, 30, 30)


def contact_sheet(
    images: Sequence[Image.Image],
    captions: Sequence[str],
    columns: int = 8,
    marked: Sequence[int] = (),
    disputed: Sequence[int] = (),
    title: str | None = None,
    side: int = 192,
) -> Image.Image:
    """Lay pictures out in rows.

    Args:
        images: brought to (at most) `side` pixels.
        captions: lines under each picture, separated by newlines.
        columns: pictures per row.
        marked: numbers of the pictures that get a green frame.
        disputed: numbers of the pictures that get a red frame.
        title: a line on top.
        side: of a picture's place.
    """
    lines = max((caption.count("\n") + 1 for caption in captions), default=1)
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    top = _GAP + (24 if title else 0)
    cell = (side + _GAP, side + _LINE * lines + _GAP)
    sheet = Image.new("RGB", (_GAP + columns * cell[0], top + rows * cell[1]), _PAPER)
    pen = ImageDraw.Draw(sheet)
    if title:
        pen.text((_GAP, _GAP), title, fill=_INK, font_size=15)
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = _GAP + i % columns * cell[0], top + i // columns * cell[1]
        factor = side / max(image.size)
        size = (round(image.width * factor), round(image.height * factor))
        sheet.paste(image.resize(size, Image.Resampling.LANCZOS), (x, y))
        mark = _DISPUTE if i in disputed else _MARK if i in marked else None
        if mark:
            pen.rectangle((x - 3, y - 3, x + side + 2, y + side + 2), outline=mark, width=3)
        for k, line in enumerate(caption.split("\n")):
            pen.text((x, y + side + 2 + k * _LINE), _fitted(pen, line, side), fill=mark or _INK, font_size=12)
    return sheet


def _fitted(pen: ImageDraw.ImageDraw, line: str, width: int) -> str:
    """The line, cut where it would run into its neighbour's."""
    if pen.textlength(line, font_size=12) <= width:
        return line
    while line and pen.textlength(line + "...", font_size=12) > width:
        line = line[:-1]
    return line + "..."
