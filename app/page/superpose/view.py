"""What the superpose tab shows, as HTML: the images of each way, the weights on the way, and the end in one line."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ....pipelines.superposition.job import SuperposeJob
from ..line_chart import Series, line_chart
from ..pictures import Picture, downloads, grid, notice
from .run import Superposed

if TYPE_CHECKING:
    from ....pipelines import SuperposeOutcome
    from ....pipelines.superposition.judged import Judgement

WAYS = ("Superposed", "Mean of the scores", "Joint prompt")


def places(job: SuperposeJob | None, images: int) -> str:
    """Empty cells for what is to come.

    Args:
        job: None before the first run.
        images: of each way.
    """
    titles = WAYS[: 1 if job is not None and job.alone else len(WAYS)]
    return "".join(f"<h3>{title}</h3>{grid([], images, f'images, {title.lower()}')}" for title in titles)


def pictures(done: Superposed) -> str:
    """The images of each way, a row each, with the judge's words below."""
    return "".join(_row(done, arm) for arm in done.outcome.arms)


def _row(done: Superposed, arm: str) -> str:
    outcome = done.outcome
    title, said, seeds = outcome.title(arm), outcome.judgements.get(arm, []), outcome.arms[arm].seeds
    rights = [one.right for one in said] or [None] * len(seeds)
    cells = []
    for seed, file, right in zip(seeds, outcome.files(arm), rights, strict=True):
        caption = f"seed {seed}" + ("" if right is None else f", {'right' if right else 'wrong'}")
        cells.append(Picture(done.folder / file, f"{title}, {caption}", caption, marked=right is True))
    words = "".join(
        f'<p class="verdict">seed {seed}: {_verdict(one)}</p>'
        for seed, one in zip(seeds[: len(said)], said, strict=True)
    )
    details = f"<details><summary>What {escape(str(outcome.judge))} says</summary>{words}</details>" if words else ""
    return f"<h3>{escape(title)}</h3>{grid(cells, len(cells), title)}{details}"


def _verdict(said: Judgement) -> str:
    kind, _, words = str(said).partition(": ")
    if said.right is None:
        return escape(str(said))
    return f'<strong class="{kind}">The judge says {kind}.</strong> {escape(words)}'


def kappa_chart(outcome: SuperposeOutcome | None) -> str:
    """The share of each prompt's score in each step, mean over the images."""
    if outcome is None:
        return line_chart([], "step", "weight", (0, 50), "weights of the prompts, none yet")
    weights = outcome.result.kappa.mean(1).T.tolist()
    return _chart(outcome, weights, "weight", "weight of each prompt's score by step")


def density_chart(outcome: SuperposeOutcome | None) -> str:
    """How much likelier each prompt finds the sample than the prompts' mean, in nats, mean over the images."""
    if outcome is None:
        return line_chart([], "step", "log-density", (0, 50), "log-densities, none yet")
    known = outcome.result.traces["log_densities"][:, :, -len(outcome.result.prompts) :]
    apart = (known - known.mean(2, keepdim=True)).mean(1).T.tolist()
    return _chart(outcome, apart, "log-density", "log-density of each prompt beside their mean, in nats, by step")


def _chart(outcome: SuperposeOutcome, values: list[list[float]], label: str, description: str) -> str:
    names = [str(prompt) for prompt in outcome.result.prompts]
    series = [
        Series(name, list(enumerate(line, 1)), "line", k % 3)
        for k, (name, line) in enumerate(zip(names, values, strict=True))
    ]
    return line_chart(series, "step", label, (0, len(values[0])), description)


def summary(done: Superposed) -> str:
    """The end in one line."""
    outcome = done.outcome
    count = len(outcome.result.images)
    text = f"{count} image{'s' if count > 1 else ''} of {outcome.title('superposed')}, {outcome.nfe:,} NFEs in all"
    rights = {arm: [one.right for one in said] for arm, said in outcome.judgements.items()}
    if not rights or None in rights["superposed"]:
        return f"{text}."
    counted = ", ".join(f"{arm} {sum(map(bool, right))} of {len(right)}" for arm, right in rights.items())
    return f"{text}; right by {outcome.judge}: {counted}."


def links(done: Superposed) -> str:
    """The files to keep, and what the library warned of."""
    notes = "".join(notice(note) for note in done.notes)
    files = [("Contact sheet", "contact_sheet.png"), ("superposition.json", "superposition.json")]
    return notes + downloads([(name, done.folder / file) for name, file in files])
