"""The run that stands on the page before a visitor has made one: made by the shipped model, stored with the page.

`benchmarks/page_example.py` makes it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ....pipelines.search.job import SearchJob
from ....valid_json import to_json
from ..answer import Shot, answer
from .run import Outcome
from .tried import Tried
from .view import FIRST, SearchView, chosen_by, ledger_html

FOLDER = Path(__file__).parent / "example"


class Example:
    """The stored run.

    Attributes:
        job: that made it.
        code, command: repeat it.
    """

    def __init__(self, folder: Path = FOLDER):
        stored = json.loads((folder / "example.json").read_text())
        self.job = SearchJob.from_dict(stored["job"])
        self.code, self.command = str(stored["python"]), str(stored["command"])
        self._ledger: dict[str, Any] = stored["ledger"]
        self._view = view = SearchView(self.job, example=True)
        view.folder, view.places, view.ended = folder, 0, True
        view.nfe = view.spent = self._ledger["nfe"]
        view.add([Tried.from_dict(one) for one in stored["tried"]])

    def answer(self) -> str:
        """Best and first draw."""
        view = self._view
        assert view.chosen is not None
        first = next(one for one in view.tried if one.seed == self.job.seed)
        shots = [
            Shot(title, view.folder / (one.file or ""), one.seed, one.value, one.sight, marked)
            for title, one, marked in ((f"Best of {len(view.tried)}", view.chosen, True), (FIRST, first, False))
        ]
        said = chosen_by(len(view.tried), self.job.guides[0], view.right)
        return answer(view.prompt, shots, f"An example, stored with this page. {said}", example=True)

    def gallery(self) -> str:
        """All of its candidates."""
        return self._view.gallery()

    def chart(self) -> str:
        """Their scores."""
        return self._view.chart()

    def facts(self) -> str:
        """What it cost."""
        return ledger_html(self._ledger)


def write(outcome: Outcome, tried: list[Tried], folder: Path = FOLDER) -> None:
    """Store a run.

    Args:
        outcome: of the search.
        tried: all of its candidates.
        folder: for the pictures and `example.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    values = []
    for k, one in enumerate(tried):
        name = f"{k}.png"
        (folder / name).write_bytes((outcome.folder / (one.file or "")).read_bytes())
        values.append(one.as_dict() | {"file": name})
    job = outcome.job
    stored: dict[str, Any] = {"job": job.as_dict(), "python": job.python(), "command": f"{job.command()}\n"}
    stored |= {"ledger": outcome.result.ledger.as_dict(), "tried": values}
    (folder / "example.json").write_text(to_json(stored, indent=1) + "\n")
