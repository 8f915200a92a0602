"""What the superpose tab shows, as HTML: the answer, the images of each way, the weights on the way, and the cost."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from ....pipelines.superposition.job import SuperposeJob
from ..answer import Shot, answer
from ..judged import Sight, right_of, verdict_html
from ..ledger import numbers_html
from ..line_chart import Series, line_chart
from ..on_the_way import OnTheWay
from ..pictures import Picture, downloads, grid, notice
from ..words import term
from .run import Superposed

if TYPE_CHECKING:
    from ....pipelines import SuperposeOutcome

WAYS = ("Superposed", "Mean of the scores", "Joint prompt")


def asked_text(job: SuperposeJob) -> str:
    """What was asked for, as a line: the formula, or the operator and its prompts."""
    return job.formula or f"{job.operator}: {', '.join(job.prompts)}"


def waiting(job: SuperposeJob, drawing: OnTheWay | None = None) -> str:
    """The panel at the top while nothing is finished."""
    first = Shot(WAYS[0], note="will stand here")
    if drawing is not None:
        first = Shot("Being drawn", drawing.file, job.seed, note=f"step {drawing.step} of {job.steps}")
    return answer(asked_text(job), [first, Shot(WAYS[2], note="will stand here")])


def final_answer(done: Superposed) -> str:
    """The first superposed image beside the joint prompt's of the same noise, or the rival's that there is."""
    outcome = done.outcome
    own, *rivals = outcome.arms
    shots = [_shot(done, own, WAYS[0])]
    if rivals:
        arm = "joint prompt" if "joint prompt" in rivals else rivals[0]
        shots.append(_shot(done, arm, arm.capitalize()))
    said = "; ".join(f"{arm} {count}" for arm, count in right_by_arm(done).items())
    line = f"The same noise in both. Right by {outcome.judge}: {said}." if said else "The same noise in both."
    return answer(asked_text(done.job), shots, line)


def _shot(done: Superposed, arm: str, title: str) -> Shot:
    file, seed = done.folder / done.outcome.files(arm)[0], done.outcome.arms[arm].seeds[0]
    sight = _sights(done, arm)[0]
    return Shot(title, file, seed, sight=sight, marked=sight is not None and sight.right is True)


def right_by_arm(done: Superposed) -> dict[str, str]:
    """How many of each way's images are right, such as "1 of 2 right"; empty without a judge that says so."""
    counts = {arm: right_of(_sights(done, arm)) for arm in done.outcome.arms}
    return {arm: count.removesuffix(" right") for arm, count in counts.items() if count}


def _sights(done: Superposed, arm: str) -> list[Sight | None]:
    """What the judge says of each image of a way."""
    said = done.outcome.judgements.get(arm)
    if said is None:
        return [None] * len(done.outcome.arms[arm].seeds)
    return [Sight(one.right, str(one).removeprefix("right: ").removeprefix("wrong: ")) for one in said]


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
    title, seeds, seen = outcome.title(arm), outcome.arms[arm].seeds, _sights(done, arm)
    cells = []
    for seed, file, sight in zip(seeds, outcome.files(arm), seen, strict=True):
        caption = f"seed {seed}"
        cells.append(Picture(done.folder / file, f"{title}, {caption}", caption, sight=sight, seed=seed))
    words = "".join(
        f"<dt>seed {seed}</dt><dd>{verdict_html(sight)}</dd>" for seed, sight in zip(seeds, seen, strict=True) if sight
    )
    said = f"<summary>What {escape(str(outcome.judge))} says</summary><dl>{words}</dl>"
    details = f"<details>{said}</details>" if words else ""
    return f"<h3>{escape(title)}</h3>{grid(cells, len(cells), title)}{details}"


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
    counted = ", ".join(f"{arm} {count}" for arm, count in right_by_arm(done).items())
    return f"{text}; right by {outcome.judge}: {counted}." if counted else f"{text}."


def facts(done: Superposed, settings: str = "") -> str:
    """What it cost, the files to keep, and what the library warned of.

    Args:
        done: the run.
        settings: what it was asked for, for the browser's memory.
    """
    notes = "".join(notice(note) for note in done.notes)
    files = [("Contact sheet", "contact_sheet.png"), ("superposition.json", "superposition.json")]
    nfe = {term("NFE", f"NFEs, {arm}"): f"{one.nfe:,}" for arm, one in done.outcome.arms.items()}
    return notes + numbers_html(nfe) + downloads([(name, done.folder / file) for name, file in files]) + settings
