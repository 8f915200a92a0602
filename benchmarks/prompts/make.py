"""Writes the prompt files beside it: `python benchmarks/prompts/make.py`."""

from pathlib import Path

import numpy as np
from samplesmith import scenes

HARD = {
    "three": 8,
    "four": 8,
    "five": 8,
    "six": 8,
    "pair": 16,
    "mixed": 24,
    "triple": 16,
    "counted-left": 12,
    "counted-above": 12,
}
EASY = {"one": 32, "two": 32}
SHEET = {
    "one": 3,
    "two": 3,
    "three": 3,
    "five": 2,
    "six": 1,
    "pair": 3,
    "left": 2,
    "above": 2,
    "mixed": 2,
    "triple": 2,
    "counted-left": 1,
}
COUNTS = ("one", "two", "three", "four", "five", "six")


def draw(rng: np.random.Generator, kind: str) -> str:
    if kind not in COUNTS:
        return scenes.sample_scene(rng, kind).caption
    while (scene := scenes.sample_scene(rng, "count")).total != COUNTS.index(kind) + 1:
        pass
    return scene.caption


def write(name: str, numbers: dict[str, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    lines: list[str] = []
    for kind, number in numbers.items():
        lines.append(f"# {kind}")
        found: list[str] = []
        while len(found) < number:
            if (caption := draw(rng, kind)) not in found:
                found.append(caption)
        lines += found
    (Path(__file__).parent / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write("hard", HARD, seed=1)
    write("easy", EASY, seed=2)
    write("sheet", SHEET, seed=3)
