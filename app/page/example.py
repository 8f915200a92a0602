"""The run that stands on a tab before a visitor has made one: what the tab showed of it, stored with the page.

It is the run that a tab makes where nothing is changed; `benchmarks/page_examples.py` makes all of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from ...valid_json import to_json
from .models import DEFAULT_MODEL, Models

PAGE = Path(__file__).parent
QUALITY = 92
"""Of the stored pictures, as WebP has it."""
SAID = "An example, stored with this page. "


@dataclass(frozen=True)
class Example:
    """A stored run.

    Attributes:
        settings: what was asked for, by the names of the tab's fields.
        shown: what the tab showed at its end, by the names of its components.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    shown: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, tab: str, models: Models) -> Example:
        """The stored run of a tab; an empty one where there is none, or where the page begins with another model."""
        file = folder_of(tab) / "run.json"
        if models.model != DEFAULT_MODEL or not file.is_file():
            return cls()
        stored = json.loads(file.read_text())
        return cls(stored["settings"], stored["shown"])


def folder_of(tab: str) -> Path:
    """Where the run of a tab is stored."""
    return PAGE / tab.lower().replace(" ", "_") / "example"


def store(tab: str, settings: Mapping[str, Any], shown: Mapping[str, str], runs: Path) -> Path:
    """Store a run in place of the tab's last one; returns its folder.

    Its pictures are kept, files to download are not; each picture and the answer say that they are an example.

    Args:
        tab: its title.
        settings: what was asked for, by the names of the tab's fields.
        shown: what the tab showed at the end, by the names of its components.
        runs: the folder from which the page serves files of runs.
    """
    folder = folder_of(tab)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    names: dict[str, str] = {}

    def kept(found: re.Match[str]) -> str:
        picture = _as_webp(runs / found[1])
        name = names.setdefault(sha256(picture).hexdigest(), f"{len(names)}.webp")
        (folder / name).write_bytes(picture)
        return f'src="page/{folder.parent.name}/example/{name}"'

    texts = {}
    for component, text in shown.items():
        text = re.sub(r'<p class="downloads">.*?</p>|<div hidden data-settings=.*?</div>', "", text)
        text = text.replace('<figure class="cell', '<figure class="cell example')
        text = text.replace('<p class="said">', f'<p class="said">{SAID}', 1)
        texts[component] = re.sub(r'src="runs/([^"]+)"', kept, text)
    (folder / "run.json").write_text(to_json({"settings": dict(settings), "shown": texts}, indent=1) + "\n")
    return folder


def _as_webp(file: Path) -> bytes:
    from PIL import Image

    written = BytesIO()
    Image.open(file).save(written, "WEBP", quality=QUALITY, method=6)
    return written.getvalue()
