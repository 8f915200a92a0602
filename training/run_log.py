"""The log of a run: a JSON line for each entry, which a resumed run cuts back to its checkpoint."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..valid_json import to_json


class RunLog:
    """A file of JSON lines, each with a `step`.

    Args:
        file: `log.jsonl`; its folder exists.
    """

    def __init__(self, file: Path):
        self.file = file

    def write(self, entry: Mapping[str, Any]) -> None:
        """Append an entry.

        Raises:
            ValueError: for a NaN or an infinity in it, which JSON does not know.
        """
        with self.file.open("a") as stream:
            stream.write(to_json(dict(entry)) + "\n")

    def entries(self) -> list[dict[str, Any]]:
        """All whole entries; a line that a killed process left torn is not among them."""
        if not self.file.exists():
            return []
        return [json.loads(line) for line in self.file.read_text().splitlines(keepends=True) if line.endswith("}\n")]

    def cut(self, step: int | None) -> None:
        """Keep what was written up to a step, as the steps behind it are made again; None keeps nothing."""
        if not self.file.exists():
            return
        kept = [entry for entry in self.entries() if step is not None and entry["step"] <= step]
        part = self.file.with_suffix(".part")
        part.write_text("".join(to_json(entry) + "\n" for entry in kept))
        os.replace(part, self.file)
