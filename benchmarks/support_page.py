"""What `support_matrix.py` found, as the page `docs/pipelines.md` and as numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from unsupported import property_of

COLUMNS = {
    "flow ODE": "flow SDE as an ODE",
    "flow SDE": "flow SDE",
    "flow SDE saved": "flow SDE, saved and loaded",
    "time shift 0": "time shift, window 0",
    "row times": "a time for each row",
    "time shift saved": "time shift, saved and loaded",
    "random": "random search",
    "zero-order": "zero-order search",
    "halving": "halving",
    "offload": "offloaded",
    "superposition": "superposition",
    "steering": "steering",
    "weak-to-strong": "weak-to-strong guidance",
}
"""Cells in the order of the page, and their headings."""

_HEAD = """# Pipelines

What each method does on each pipeline class of diffusers {diffusers} that a small random toy can be built for, found by
running it: `python benchmarks/support_matrix.py` writes this page.

{summary}

To ask for your own pipeline: `samplesmith.support(pipe)`, or `samplesmith models --pipeline FOLDER`.

## What a cell means
- **yes**: it was run, and held: *flow SDE as an ODE* and *time shift, window 0* equal the stock scheduler bit for bit;
  *flow SDE* gives the same picture whatever the global generator; *a time for each row* is what the network receives,
  in a batch as alone; *saved and loaded* in another process makes the same picture; a *search* chooses the same in
  batches of 1 and 4, the plain pipeline makes the winner again, and the NFEs equal a count at every network;
  *offloaded* (accelerate's hooks) gives the same scores; in a *superposition* (OR of two prompts) an image is the same
  alone and beside another, of one prompt twice it is that prompt's, and the NFEs equal that count; *steering* (svdd, by
  stochastic steps) evaluates the same nodes in batches of 1 and 4 and holds as a search does; *weak-to-strong guidance*
  on all steps is the pipeline's own bit for bit, so it is again once it is off, and on fewer steps it costs less.
- **a letter**: refused before anything runs, with the sentence below. In *italics* where the sentence names a property
  of the pipeline that a check confirms; those are not counted.
- **stock**: the plain pipeline cannot do it either: it fails or makes other pictures where it is to make several in one
  call, or once it was saved and loaded; or its own scheduler is a solver that Euler steps cannot equal.
- **fault**: it ran and was wrong, or broke.

## The matrix
"""

_HOW = """
## Adding a pipeline
Write a function in `tests/toys/` that builds the pipeline from tiny random parts (`parts.py` has text encoders,
tokenizers and autoencoders), and a line in its file's `TOYS`: `"ClassName": Recipe(function, PROMPT, arguments)`.
Another way to call the same class stands behind a comma. Then run `python benchmarks/support_matrix.py ClassName`.
"""


def cells(content: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Row, column and outcome of each cell."""
    for row, entry in content["rows"].items():
        for column in COLUMNS:
            yield row, column, entry["cells"][column]


def counts(content: dict[str, Any]) -> dict[str, int]:
    """How many cells ran, were faults, and were refused with and without a property of the pipeline as the reason."""
    found = {"yes": 0, "fault": 0, "refused": 0, "cannot": 0, "stock": 0}
    for _, _, cell in cells(content):
        state = cell["state"]
        found["cannot" if state == "refused" and property_of(cell["why"]) else state] += 1
    return found


def summary(content: dict[str, Any]) -> str:
    """The numbers in a sentence."""
    found, classes = counts(content), content["classes"]
    texts = [one for one in classes.values() if one["kind"] in ("text", "class") and "toys" in one]
    every = [one for one in classes.values() if "toys" in one]
    asked = found["yes"] + found["fault"] + found["refused"]
    return (
        f"{len(content['rows'])} rows of {len(every)} pipeline classes, {len(texts)} of which make pictures or clips "
        f"of texts or class labels: {found['yes']} of {asked} cells run ({found['yes'] / max(1, asked):.1%}), "
        f"{found['refused']} are refused, {found['fault']} are faults; {found['cannot'] + found['stock']} more cannot "
        "be, by a property of the pipeline."
    )


def page(content: dict[str, Any]) -> str:
    """The whole page."""
    letters: dict[str, str] = {}
    lines = ["| pipeline | " + " | ".join(COLUMNS.values()) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for row, entry in content["rows"].items():
        shown = [_shown(entry["cells"][column], letters) for column in COLUMNS]
        lines.append(f"| {row} | " + " | ".join(shown) + " |")
    parts = [_HEAD.format(diffusers=content["versions"]["diffusers"], summary=summary(content)), "\n".join(lines)]
    parts.append("\n\n## Why not\n")
    parts += [f"- **{letter}**: {why}\n" for why, letter in letters.items()]
    if faults := [(row, column, cell["why"]) for row, column, cell in cells(content) if cell["state"] == "fault"]:
        parts.append("\n## Faults\n")
        parts += [f"- {row}, {COLUMNS[column]}: `{why}`\n" for row, column, why in faults]
    parts += [_HOW, "\n## Every pipeline class\n| class | toy, or why none |\n|---|---|\n"]
    parts += [f"| {name} | {one.get('toys') or one['reason']} |\n" for name, one in content["classes"].items()]
    return "".join(parts)


def _shown(cell: dict[str, Any], letters: dict[str, str]) -> str:
    if cell["state"] != "refused":
        return cell["state"]
    why = _general(cell["why"])
    letter = letters.setdefault(why, _letter(len(letters)))
    return f"*{letter}*" if property_of(cell["why"]) else letter


def _general(why: str) -> str:
    """A sentence for all classes of which it is said: names of classes are left out at its beginning."""
    first, _, rest = why.partition(" ")
    return f"*it* {rest}" if first.endswith(("Pipeline", "Scheduler")) else why


def _letter(number: int) -> str:
    return (chr(ord("a") + number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)
