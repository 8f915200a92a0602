"""What a visitor may ask of a steered search: checked before anything is loaded or written."""

from __future__ import annotations

from typing import Any

from ....named_settings import write
from ....pipelines.search.job import SearchJob
from ....pipelines.search.steer_job import SteerJob
from ..library import import_library
from ..limits import Limits, one_of, whole
from ..models import Models
from ..search.request import search_fields

TRANSITIONS = ("precise", "ddpm", "cps:eta=0.7", "glass:inner_steps=2")
"""That make the steps of any flow or diffusion draw noise, the one to begin with first."""
MOST_NFE = 2000
_SHARED = (
    *("prompts", "model", "verifiers", "judge", "seed", "batch_size", "arguments", "dtype", "device", "offload"),
    *("budget", "steps"),
)
"""Fields in which the rival of a steered search is the same."""


def checked_job(
    models: Models,
    limits: Limits,
    *,
    strategy: Any = "rbf",
    transition: Any = TRANSITIONS[0],
    budget: Any = 160,
    steps: Any = 8,
    **asked: Any,
) -> SteerJob:
    """The job of values as a browser or a program sent them.

    Args:
        models: of the page.
        limits: of one visitor's request.
        strategy: a text.
        transition: one of `TRANSITIONS`.
        budget: NFEs.
        steps: a number.
        asked: the rest of what `search_fields` checks.

    Raises:
        ValueError: for anything that is not offered or out of range, in one sentence.
    """
    one_of("transition", transition, TRANSITIONS)
    job = SteerJob(
        **search_fields(models, limits, strategy=strategy, **asked),
        budget=whole("budget", budget, 1, MOST_NFE, "NFEs"),
        steps=whole("number of steps", steps, 1, limits.steps),
        scheduler=write("stochastic", {"integrator": transition}),
    )
    import_library()
    job.check()
    return job


def best_of_n(job: SteerJob) -> SearchJob:
    """What stands beside it: whole runs of as many steps by the model's own scheduler, for the same budget."""
    return SearchJob(**{name: getattr(job, name) for name in _SHARED})
