"""A superposition as work of the page: the job that a command line would run, told step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ....pipelines.superposition.job import SuperposeJob
from ..line import Turn
from ..models import IN_HAND
from ..on_the_way import EVERY, OnTheWay, save_decoded
from ..studio import Studio

if TYPE_CHECKING:
    from ....pipelines import SuperposeOutcome


@dataclass(frozen=True)
class StepDone:
    """A step of `steps` was made, those of the rivals included."""

    step: int
    steps: int


@dataclass(frozen=True)
class Superposed:
    """The end.

    Attributes:
        job: makes the same again.
        folder: of the run; the images lie there as `SuperposeOutcome.save` puts them.
        outcome: images, traces and what the judge says.
        notes: what the library warned of.
    """

    job: SuperposeJob
    folder: Path
    outcome: SuperposeOutcome
    notes: list[str] = field(default_factory=list)


def run_superposition(studio: Studio, job: SuperposeJob, folder: Path, turn: Turn) -> Superposed:
    """Run a checked job; it reports `Loading`, `StepDone` and `OnTheWay`.

    Args:
        studio: of the page.
        job: checked.
        folder: of this run alone.
        turn: of the visitor.

    Raises:
        ValueError: where the job cannot be run.
    """
    models, model = studio.models, job.model or IN_HAND
    models.announce([model, job.judge], turn.report)
    pipe = models.pipeline(model)

    def on_step(step: int, steps: int) -> None:
        turn.report(StepDone(step, steps))
        if step < job.steps and step % EVERY == 0:  # of the superposition, which runs before its rivals
            file = folder / f"on_the_way_{step}.png"
            if save_decoded(pipe, pipe.scheduler.clean[:1], file):
                turn.report(OnTheWay(file, step))

    with turn.stops(pipe):
        outcome = job.run(pipe, load=partial(models.judge_or_guide, model=model), progress=False, on_step=on_step)
    outcome.save(folder)
    return Superposed(job, folder, outcome, turn.notes)
