"""Prompts from files of benchmarks/prompts/, one per line; lines that begin with # are comments."""

from pathlib import Path

import numpy as np

HARD = Path(__file__).parent / "prompts/hard.txt"


def read_evenly(file: Path, count: int | None = None) -> list[str]:
    """So many prompts of a file, evenly spaced, as files go from kind to kind; all of them for None."""
    prompts = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    count = min(count or len(prompts), len(prompts))
    return [prompts[int(i)] for i in np.linspace(0, len(prompts) - 1, count).round()]
