"""What a run cost, as HTML: a line of names and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from .controls import seconds_text
from .words import term


def ledger_html(ledger: Mapping[str, Any], **more: Any) -> str:
    """The cost of a search.

    Args:
        ledger: the search's own, as a map.
        more: numbers beside it, by name.
    """
    costs = {
        term("NFE", "NFEs"): f"{ledger['nfe']:,}",
        **more,
        "decodes": ledger["decodes"],
        "verifier calls": ledger["verifier_calls"],
        "time": seconds_text(ledger["seconds"]),
    }
    return numbers_html(costs)


def numbers_html(numbers: Mapping[str, Any]) -> str:
    """Names, as HTML, with their numbers; those that are empty are left out."""
    said = {name: escape(str(value)) for name, value in numbers.items()}
    rows = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in said.items() if value)
    return f'<dl class="ledger">{rows}</dl>'
