"""What a visitor may ask of a steered search: checked before anything is loaded or written."""

from __future__ import annotations

from typing import Any

from ....named_settings import write
from ....pipelines.search.job import SearchJob
from ....pipelines.search.steer_job import SteerJob
from ..library import import_library
from ..limits import Limits, checked_prompt, one_of, optional, real, whole
from ..models import IN_HAND, Models

TRANSITIONS = ("precise", "ddpm", "cps:eta=0.7", "glass:inner_steps=2")
"""That make the steps of any flow or diffusion draw noise, the one to begin with first."""
MOST_NFE = 2000


def checked_job(
    models: Models,
    limits: Limits,
    *,
    prompt: Any,
    model: Any,
    verifier: Any,
    judge: Any = None,
    strategy: Any = "rbf",
    transition: Any = TRANSITIONS[0],
    budget: Any = 160,
    steps: Any = 8,
    seed: Any = 0,
    batch_size: Any = 8,
    guidance_scale: Any = None,
) -> SteerJob:
    """The job of values as a browser or a program sent them.

    Args:
        models: of the page.
        limits: of one visitor's request.
        prompt, model, verifier, judge, strategy: texts; no judge is None.
        transition: one of `TRANSITIONS`.
        budget: NFEs.
        steps, seed, batch_size: numbers.
        guidance_scale: a number or a text; None and an empty one leave it to the model.

    Raises:
        ValueError: for anything that is not offered or out of range, in one sentence.
    """
    one_of("model", model, models.pipelines)
    one_of("verifier", verifier, models.guides(model))
    one_of("judge", judge, [None, *models.judges(model)])
    one_of("transition", transition, TRANSITIONS)
    guidance = optional(real, "guidance scale", guidance_scale, 0, 100)
    job = SteerJob(
        prompts=(checked_prompt(prompt, limits),),
        model=None if model == IN_HAND else model,
        verifiers=(verifier,),
        judge=judge,
        strategy=strategy,
        budget=whole("budget", budget, 1, MOST_NFE, "NFEs"),
        steps=whole("number of steps", steps, 1, limits.steps),
        scheduler=write("stochastic", {"integrator": transition}),
        seed=whole("seed", seed, 0, 2**31 - 1),
        batch_size=whole("number of candidates in one call", batch_size, 1, limits.batch_size),
        arguments={} if guidance is None else {"guidance_scale": guidance},
        dtype=models.dtype,
        device=models.device,
        offload=models.offload,
    )
    import_library()
    job.check()
    return job


def best_of_n(job: SteerJob) -> SearchJob:
    """What stands beside it: whole runs of as many steps by the model's own scheduler, for the same budget."""
    return SearchJob(
        prompts=job.prompts,
        model=job.model,
        verifiers=job.verifiers,
        judge=job.judge,
        budget=job.budget,
        steps=job.steps,
        seed=job.seed,
        batch_size=job.batch_size,
        arguments=job.arguments,
        dtype=job.dtype,
        device=job.device,
        offload=job.offload,
    )
