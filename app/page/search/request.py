"""What a visitor may ask of a search: checked before anything is loaded or written."""

from __future__ import annotations

from typing import Any

from .... import assets
from ....pipelines.search.job import AUTO, SearchJob
from ....scenes import PromptError, parse, words_of
from ..library import import_library
from ..limits import Limits, checked_prompt, one_of, optional, real, whole
from ..model_fields import judge_of
from ..models import IN_HAND, Models


def checked_job(
    models: Models,
    limits: Limits,
    *,
    candidates: Any = 8,
    steps: Any = None,
    height: Any = None,
    width: Any = None,
    **asked: Any,
) -> SearchJob:
    """The job of values as a browser or a program sent them.

    Args:
        models: of the page.
        limits: of one visitor's request.
        candidates: how many whole candidates the budget is worth.
        steps, height, width: numbers or texts; None and empty ones leave them to the model, and steps "auto" to the
            calibration.
        asked: what `search_fields` checks.

    Raises:
        ValueError: for anything that is not offered or out of range, in one sentence.
    """
    fields = search_fields(models, limits, **asked)
    model = fields["model"] or IN_HAND
    auto = isinstance(steps, str) and steps.strip().lower() == AUTO
    if auto and not models.has_calibration(model):
        raise ValueError(f"{model} carries no calibration, which steps {AUTO!r} need; give a number of steps")
    sides = {
        "height": optional(whole, "height", height, 8, limits.side, "pixels"),
        "width": optional(whole, "width", width, 8, limits.side, "pixels"),
    }
    fields["arguments"] |= {name: value for name, value in sides.items() if value is not None}
    job = SearchJob(
        **fields,
        candidates=whole("budget", candidates, 1, limits.candidates, "candidates"),
        steps=AUTO if auto else optional(whole, "number of steps", steps, 1, limits.steps),
    )
    default = models.default_steps(model) if job.steps is None or job.steps == AUTO else job.steps
    number = job.candidates or 0
    if number * (default or 1) > limits.total_steps:
        raise ValueError(
            f"the budget is {number} candidates of {default} steps; one visitor may ask for "
            f"{limits.total_steps:,} steps in all: take fewer of either"
        )
    import_library()
    job.check()
    return job


def search_fields(
    models: Models,
    limits: Limits,
    *,
    prompt: Any,
    model: Any,
    verifier: Any,
    judge: Any = None,
    strategy: Any = "random",
    seed: Any = 0,
    batch_size: Any = 8,
    guidance_scale: Any = None,
) -> dict[str, Any]:
    """The fields that jobs which search have in common, by name.

    Args:
        models: of the page.
        limits: of one visitor's request.
        prompt, model, verifier, judge, strategy: texts; no judge is None, or "none".
        seed, batch_size: numbers.
        guidance_scale: a number or a text; None and an empty one leave it to the model.

    Raises:
        ValueError: for anything that is not offered or out of range, in one sentence.
    """
    judge = judge_of(judge)
    one_of("model", model, models.pipelines)
    one_of("verifier", verifier, models.guides(model))
    one_of("judge", judge, [None, *models.judges(model)])
    if judge is not None and judge == verifier:
        raise ValueError(f"{judge} is verifier and judge; a judge takes no part in the choice: take another, or none")
    if (labels := models.labels(model)) and isinstance(prompt, str):
        one_of("class", prompt.strip(), labels)
    guidance = optional(real, "guidance scale", guidance_scale, 0, 100)
    return {
        "prompts": (_in_known_words(checked_prompt(prompt, limits), model, verifier, judge),),
        "model": None if model == IN_HAND else model,
        "verifiers": (verifier,),
        "judge": judge,
        "strategy": strategy,
        "seed": whole("seed", seed, 0, 2**31 - 1),
        "batch_size": whole("number of candidates in one call", batch_size, 1, limits.batch_size),
        "arguments": {} if guidance is None else {"guidance_scale": guidance},
        **models.placement,
    }


def _in_known_words(prompt: str, *names: str | None) -> str:
    """The prompt with number words for digits, where one of the shipped models has never seen digits."""
    known = [assets.card(name) for name in names if name in assets.names()]
    lacking = {word for card in known if card.get("vocabulary") == "emoji" for word in card.get("lacks", ())}
    if not lacking.intersection(word for word in words_of(prompt) if word.isdecimal()):
        return prompt
    try:
        return parse(prompt).caption
    except PromptError:
        return prompt  # the job's own check says what is wrong
