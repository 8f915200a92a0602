"""Figures without a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, in inches.

    Raises:
        ValueError: where matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ValueError("a plot needs matplotlib: pip install 'samplesmith[eval]'") from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, file: str | Path) -> None:
    """Write it, in a format that matplotlib knows by the file's ending; ValueError for another."""
    Path(file).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
