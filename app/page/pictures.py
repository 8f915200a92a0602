"""Pictures of a run as HTML: with alternative texts, in cells whose size does not depend on what has come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from .judged import Sight, boxes_svg, tick_of
from .visitors import HOME_PREFIX

if TYPE_CHECKING:
    import numpy as np

PAGE = Path(__file__).parent
"""Files that come with the page are served from here, by their kinds (`serving.py`)."""


@dataclass(frozen=True)
class Picture:
    """A file of a run, and what is said of it.

    Attributes:
        alt: in place of the picture, for those who do not see it.
        caption: under it.
        marked: framed, as the best so far.
        faint: not finished.
        sight: what the judge sees in it; None where it was not asked.
        seed: that drew it, which the visitor may take over; None where that says nothing.
    """

    file: Path
    alt: str
    caption: str = ""
    marked: bool = False
    faint: bool = False
    sight: Sight | None = None
    seed: int | None = None


def file_url(file: Path) -> str:
    """Address of a file of a run, or of one that comes with the page: relative to the page.

    What stands above the visitors' folders on the server is no part of it.
    """
    if file.is_relative_to(PAGE):
        return f"page/{quote(file.relative_to(PAGE).as_posix())}"
    below = max((k for k, part in enumerate(file.parts) if part.startswith(HOME_PREFIX)), default=len(file.parts) - 2)
    return f"runs/{quote('/'.join(file.parts[below + 1 :]))}"


def figure(picture: Picture) -> str:
    """A picture with its caption, as HTML; a click or Enter on it opens it large (`look.js`)."""
    sight = picture.sight
    classes = f"cell{' best' * picture.marked}{' early' * picture.faint}"
    star = '<span aria-hidden="true">★</span> ' if picture.marked else ""
    tick = "" if sight is None else tick_of(sight.right)
    caption = f"<figcaption>{star}{escape(picture.caption)}{tick}</figcaption>" if picture.caption or tick else ""
    said = "" if sight is None else f", {sight}"
    seed = "" if picture.seed is None else f' data-seed="{picture.seed}"'
    boxes = "" if sight is None else boxes_svg(sight)
    return (
        f'<figure class="{classes}"><button type="button" class="look"{seed}>'
        f'<img src="{escape(file_url(picture.file))}" alt="{escape(picture.alt + said)}">{boxes}</button>'
        f"{caption}</figure>"
    )


def empty_cell(text: str = "") -> str:
    """The place of a picture that is still to come; a text says what will stand there."""
    hidden = "" if text else ' aria-hidden="true"'
    return f'<figure class="cell empty"{hidden}><div>{escape(text)}</div><figcaption>&nbsp;</figcaption></figure>'


def grid(pictures: Sequence[Picture], places: int = 0, label: str = "") -> str:
    """Pictures in rows, and empty cells for those that are still to come.

    Args:
        pictures: in order.
        places: how many there will be.
        label: of the whole.
    """
    cells = [figure(one) for one in pictures]
    cells += [empty_cell()] * (places - len(pictures))
    size = "four" if len(cells) <= 4 else "few" if len(cells) <= 8 else "many"
    reachable = ' tabindex="0"' if size == "many" else ""  # many scroll in a frame of their own
    return f'<div class="cells {size}" role="group" aria-label="{escape(label)}"{reachable}>{"".join(cells)}</div>'


def save_pictures(images: Iterable[np.ndarray], files: Sequence[Path]) -> list[Path]:
    """Write pictures of a run; returns their files.

    Args:
        images: uint8 (height, width, channels) each.
        files: one for each.
    """
    from PIL import Image

    for image, file in zip(images, files, strict=True):
        Image.fromarray(image).save(file)
    return list(files)


def downloads(files: Sequence[tuple[str, Path]]) -> str:
    """Links that save files, each with its name."""
    links = [f'<a href="{escape(file_url(file))}" download="{escape(file.name)}">{name}</a>' for name, file in files]
    return f'<p class="downloads">{" ".join(links)}</p>'


def notice(text: str, kind: str = "calm") -> str:
    """A line that readers are told of at once.

    Args:
        text: one sentence.
        kind: "calm", "busy" or "wrong".
    """
    role = "alert" if kind == "wrong" else "status"
    return f'<p class="notice {kind}" role="{role}">{escape(text)}</p>'


def progress(text: str, share: float) -> str:
    """A bar with a line over it.

    Args:
        text: the numbers.
        share: done, from 0 to 1.
    """
    percent = round(100 * min(max(share, 0.0), 1.0))
    return (
        f'<div class="notice busy" role="status"><p>{escape(text)}</p><div class="bar" role="progressbar" '
        f'aria-valuenow="{percent}" aria-valuemin="0" aria-valuemax="100" aria-label="budget spent">'
        f'<div style="width:{percent}%"></div></div></div>'
    )
