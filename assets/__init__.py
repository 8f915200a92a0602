"""The shipped models: where they lie, and how they are meant to be called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parent
_CARD = "samplesmith.json"


def names(kind: str | None = None) -> list[str]:
    """Names of the shipped models; `kind` is "pipeline" or "verifier", None for all."""
    found = sorted(card.parent.name for card in _ROOT.glob(f"*/{_CARD}"))
    return [name for name in found if kind is None or card(name)["kind"] == kind]


def path(name: str) -> Path:
    """Folder of a shipped model.

    Raises:
        ValueError: for a name that is not shipped; it lists those that are.
    """
    folder = _ROOT / name
    if Path(name).name != name or not (folder / _CARD).is_file():
        raise ValueError(f"no shipped model is called {name!r}; shipped: {', '.join(names())}")
    return folder


def card(name: str) -> dict[str, Any]:
    """What a shipped model says of itself.

    Its kind and summary; by kind, call defaults, guide, loader, vocabulary, what the weights lack of its words, and
    which components are another model's (`shared`: its name by component), so that they are stored once.
    """
    return card_in(path(name))


def card_in(folder: Path) -> dict[str, Any]:
    """The card of a model's folder, shipped or not; empty for one without."""
    file = folder / _CARD
    return json.loads(file.read_text()) if file.is_file() else {}


def call_defaults(name: str) -> dict[str, Any]:
    """Arguments with which a shipped pipeline is meant to be called; empty for a verifier."""
    return card(name).get("call_defaults", {})


def weak_model(pipeline: str) -> str | None:
    """Name of the shipped weak model of a pipeline (`--hook weak-to-strong:weak=NAME`); None where there is none."""
    return next((name for name in names("weak model") if card(name)["of"] == pipeline), None)
