"""Pictures of a run as HTML: with alternative texts, in cells whose size does not depend on what has come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Picture:
    """A file of a run, and what is said of it.

    Attributes:
        alt: in place of the picture, for those who do not see it.
        caption: under it.
        marked: framed, as the best so far.
        faint: not finished.
    """

    file: Path
    alt: str
    caption: str = ""
    marked: bool = False
    faint: bool = False


def file_url(file: Path) -> str:
    """Address of a file of a run, relative to the page."""
    return f"gradio_api/file={quote(file.as_posix())}"


def figure(picture: Picture) -> str:
    """A picture with its caption, as HTML."""
    classes = f"cell{' best' * picture.marked}{' early' * picture.faint}"
    star = '<span aria-hidden="true">★</span> ' if picture.marked else ""
    caption = f"<figcaption>{star}{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return (
        f'<figure class="{classes}"><img src="{escape(file_url(picture.file))}" alt="{escape(picture.alt)}">'
        f"{caption}</figure>"
    )


def grid(pictures: Sequence[Picture], places: int = 0, label: str = "") -> str:
    """Pictures in rows, and empty cells for those that are still to come.

    Args:
        pictures: in order.
        places: how many there will be.
        label: of the whole.
    """
    cells = [figure(one) for one in pictures]
    empty = '<figure class="cell empty" aria-hidden="true"><div></div><figcaption>&nbsp;</figcaption></figure>'
    cells += [empty] * (places - len(pictures))
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
