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
VALIDATION = {
    "three": 3,
    "four": 3,
    "five": 3,
    "six": 3,
    "pair": 6,
    "mixed": 8,
    "triple": 6,
    "counted-left": 4,
    "counted-above": 4,
}
"""Like the hard ones, for calibration and for choices that are not to be made on those."""
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
COLLECT = {
    "one": 32,
    "two": 32,
    "three": 32,
    "four": 32,
    "five": 32,
    "six": 32,
    "pair": 48,
    "left": 32,
    "above": 32,
    "mixed": 32,
    "triple": 32,
    "counted-left": 16,
    "counted-above": 16,
}
"""Of all kinds, for `samplesmith collect`: nothing is measured on these."""
COUNTS = ("one", "two", "three", "four", "five", "six")


def draw(rng: np.random.Generator, kind: str) -> str:
    if kind not in COUNTS:
        return scenes.sample_scene(rng, kind).caption
    while (scene := scenes.sample_scene(rng, "count")).total != COUNTS.index(kind) + 1:
        pass
    return scene.caption


def write(name: str, numbers: dict[str, int], seed: int, without: tuple[str, ...] = (), mixed: bool = False) -> None:
    """Write a file of prompts, none of which stands in the files `without`; kind by kind, or `mixed`."""
    texts = [(Path(__file__).parent / f"{other}.txt").read_text() for other in without]
    taken = {line for text in texts for line in text.splitlines()}
    rng = np.random.default_rng(seed)
    lines: list[str] = []
    for kind, number in numbers.items():
        lines.append(f"# {kind}")
        found: list[str] = []
        while len(found) < number:
            if (caption := draw(rng, kind)) not in found and caption not in taken:
                found.append(caption)
        lines += found
    if mixed:  # a part of the file has all kinds
        prompts = [line for line in lines if not line.startswith("#")]
        lines = ["# of all kinds, mixed", *(prompts[k] for k in rng.permutation(len(prompts)))]
    (Path(__file__).parent / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write("hard", HARD, seed=1)
    write("easy", EASY, seed=2)
    write("sheet", SHEET, seed=3)
    write("validation", VALIDATION, seed=4, without=("hard",))
    write("collect", COLLECT, seed=5, without=("hard", "easy", "validation", "few"), mixed=True)
