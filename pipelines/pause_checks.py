"""Whether a pipeline's runs can be stopped at a step and go on there, as far as it can be seen without a call."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..samplers import TimeShiftScheduler
from ..samplers.clean_prediction import known_path
from ..samplers.hooks.caching import check_calls_alone
from ..samplers.wrapped import innermost
from .loop_schedulers import check_rows_are_candidates, check_scheduler_is_used

_STEPS = {
    "start",
    "end",
    "stop",
    "interval",
    "schedule",
    "trunc",
    "truncation",
    "cutoff",
    "warmup",
    "cooldown",
    "iter",
    "callback",
}
"""Words in the names of arguments that say on which steps something acts, or are told their number."""


def check_pauses(pipe: Any) -> None:
    """Whether a pipeline's runs can be stopped at a step and resumed there, as far as it can be seen without a call.

    Raises:
        ValueError: where they cannot, with the reason.
    """
    name, kind = type(pipe).__name__, type(pipe)
    check_scheduler_is_used(pipe)
    check_rows_are_candidates(pipe)
    prepare = getattr(kind, "prepare_latents", None)
    if prepare is None:
        raise ValueError(f"{name} has no prepare_latents, so its runs cannot be resumed; use the random strategy")
    if "timestep" in inspect.signature(prepare).parameters or "strength" in inspect.signature(kind.__call__).parameters:
        raise ValueError(
            f"{name} starts from a noised picture, and only runs from noise can be resumed; use the random strategy"
        )
    if isinstance(pipe.scheduler, TimeShiftScheduler):
        raise ValueError(
            "a time shift fits its times to the candidates of one batch, so they cannot go on in another; use another "
            "scheduler, or the random strategy"
        )
    scheduler = innermost(pipe.scheduler)
    if hasattr(scheduler, "noise_sampler"):
        raise ValueError(
            f"{type(scheduler).__name__} draws the noise of a whole batch, so no candidate can go on alone; use "
            "another scheduler, or the random strategy"
        )
    known_path(scheduler)
    check_calls_alone(pipe)


def check_steps_alike(pipe: Any, arguments: Mapping[str, Any]) -> None:
    """Whether a call treats its steps alike, as far as its arguments tell: in each window the pipeline counts from 0.

    Such an argument says on which steps something acts (`control_guidance_end`), or is what another one of the
    signature says it of (`skip_guidance_layers`, of which `skip_layer_guidance_start` does).

    Raises:
        ValueError: for an argument that acts on some of the steps, or is told their number.
    """
    parameters = inspect.signature(type(pipe).__call__).parameters
    bounds = [_words(name) - _STEPS for name in parameters if _STEPS & _words(name)]
    for name, value in arguments.items():
        words, default = _words(name), parameters[name].default
        bounded = len(words) > 1 and any(words <= about for about in bounds)
        if (_STEPS & words or bounded) and value is not default and not bool(np.all(value == default)):
            raise ValueError(
                f"{name} goes by the number of the step, and a run that is resumed counts its steps anew; leave it "
                "out, or use the random strategy"
            )


def _words(name: str) -> set[str]:
    return {word.removesuffix("s") for word in name.split("_")} - {""}
