"""What was measured of a time-shift setting: its row of the FID table that `benchmarks/timeshift_fid.py` writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .comparison import ShiftRequest

TABLE = Path(__file__).parents[3] / "benchmarks" / "results" / "timeshift_fid.json"
"""Part of the wheel too, as package data."""


def measured(request: ShiftRequest, file: Path = TABLE) -> str | None:
    """The measured row of a setting in words, whichever way it went; None where it was not measured.

    Args:
        request: the comparison; its model, solver, steps, window, cutoff and arm name the row.
        file: holds "model" and "cells"; a cell has "solver", "steps", "arm", "window", "cutoff", "fid" (a number, or
            one a set of seeds) and maybe "ratio" and "ratio_interval", to plain sampling.
    """
    try:
        table = json.loads(file.read_text())
        if table.get("model") != request.model:
            return None
        row = next((cell for cell in table["cells"] if _is_of(cell, request)), None)
        plain = next((cell for cell in table["cells"] if _is_of(cell, request, plain=True)), None)
        return None if row is None else _words(row, plain)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_of(cell: dict[str, Any], request: ShiftRequest, plain: bool = False) -> bool:
    if (cell["solver"], cell["steps"]) != (request.solver, request.steps):
        return False
    if plain or request.arm == "plain":
        return cell["arm"] == "plain"
    return (cell["arm"], cell["window"], cell["cutoff"]) == (request.arm, request.window, request.cutoff)


def _words(row: dict[str, Any], plain: dict[str, Any] | None) -> str:
    said = f"FID {_mean(row['fid']):.2f}"
    if plain is None or row is plain:
        return f"{said} (plain)"
    said += f", plain {_mean(plain['fid']):.2f}"
    if (ratio := row.get("ratio")) is None:
        return said
    low, high = row["ratio_interval"]
    better = "better than plain" if high < 1 else "worse than plain" if low > 1 else "no difference from plain is shown"
    return f"{said}, ratio {ratio:.3f} [{low:.3f}, {high:.3f}]: {better}"


def _mean(value: float | Sequence[float]) -> float:
    values = [value] if isinstance(value, (int, float)) else list(value)
    return sum(values) / len(values)
