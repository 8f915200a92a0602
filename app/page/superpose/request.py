"""What a visitor may ask of a superposition: checked before anything is loaded or written."""

from __future__ import annotations

from typing import Any

from ....pipelines.superposition.job import STEPS, SuperposeJob
from ..library import import_library
from ..limits import Limits, checked_prompt, one_of, optional, real, whole
from ..model_fields import judge_of
from ..models import IN_HAND, Models

OPERATORS = ("and", "and-paper", "or", "mean")
MOST_IMAGES, MOST_PROMPTS, ARMS = 8, 6, 3
"""ARMS: the superposition and its two rivals."""


def checked_job(
    models: Models,
    limits: Limits,
    *,
    what: Any,
    operator: Any = "and",
    model: Any,
    judge: Any = None,
    images: Any = 2,
    steps: Any = None,
    temperature: Any = None,
    guidance_scale: Any = None,
    seed: Any = 0,
) -> SuperposeJob:
    """The job of values as a browser or a program sent them.

    Args:
        models: of the page.
        limits: of one visitor's request.
        what: prompts, one a line, or a formula, which begins with a quote, a NOT or a bracket.
        operator: of prompts; a formula has its own.
        model, judge: texts; no judge is None, or "none".
        images: how many; image k has the noise of `seed + k`.
        steps, temperature, guidance_scale: numbers or texts; None and empty ones leave them to the job and the model.
        seed: of the first image.

    Raises:
        ValueError: for anything that is not offered or out of range, in one sentence.
    """
    judge = judge_of(judge)
    one_of("model", model, models.pipelines)
    one_of("judge", judge, [None, *models.judges(model)])
    one_of("operator", operator, OPERATORS)
    heat = optional(real, "temperature", temperature, 1e-6, 1e6)
    guidance = optional(real, "guidance scale", guidance_scale, 0, 100)
    job = SuperposeJob(
        **_asked(checked_prompt(what, limits), operator),
        model=None if model == IN_HAND else model,
        judge=judge,
        num_images=whole("number of images", images, 1, MOST_IMAGES),
        seed=whole("seed", seed, 0, 2**31 - 1),
        steps=optional(whole, "number of steps", steps, 1, limits.steps) or STEPS,
        settings={} if heat is None else {"temperature": heat},
        arguments={} if guidance is None else {"guidance_scale": guidance},
        **models.placement,
    )
    if ARMS * job.num_images * job.steps > limits.total_steps:
        raise ValueError(
            f"{job.num_images} images of {job.steps} steps and as many of two rivals are more than the "
            f"{limits.total_steps:,} steps in all that one visitor may ask for: take fewer of either"
        )
    import_library()
    job.check()
    if (count := len(job.asked.prompts())) > MOST_PROMPTS:
        raise ValueError(f"there are {count} prompts; superpose at most {MOST_PROMPTS} here")
    return job


def _asked(text: str, operator: str) -> dict[str, Any]:
    if text.startswith(('"', "'", "~", "(")):
        return {"formula": " ".join(text.split())}
    return {"prompts": [line.strip() for line in text.splitlines() if line.strip()], "operator": operator}
