"""Refusals that name a property of the pipeline, and how to see by other means than the package's that it has it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

from diffusers import SchedulerMixin, UNet3DConditionModel


def _takes(pipe: Any) -> set[str]:
    return set(inspect.signature(type(pipe).__call__).parameters)


def _source(pipe: Any) -> str:
    owner = next(kind for kind in type(pipe).__mro__ if "__call__" in vars(kind))
    return inspect.getsource(owner)


def _starts_from_a_picture(pipe: Any) -> bool:
    return "strength" in _takes(pipe) or "image" in _takes(pipe)


def _is_no_linear_flow(pipe: Any) -> bool:
    """Its steps are no Euler steps along x = (1 - t) data + t noise: it has betas, or no sigmas of a flow."""
    scheduler = pipe.scheduler
    return hasattr(scheduler, "alphas_cumprod") or not hasattr(scheduler, "scale_noise")


def _shows_clips(pipe: Any) -> bool:
    """Its decoded output has frames."""
    return "num_frames" in _takes(pipe) or "video_length" in _takes(pipe)


def _runs_far_out(pipe: Any) -> bool:
    """Its flow scheduler is run with sigmas above 1, where x = (1 - t) data + t noise has none."""
    return (pipe.scheduler.config.get("sigma_max") or 0) > 1


PROPERTIES: dict[str, Callable[[Any], bool]] = {
    r"takes no generator=": lambda pipe: "generator" not in _takes(pipe),
    r"takes neither prompt= nor class_labels=": lambda pipe: not {"prompt", "class_labels"} & _takes(pipe),
    r"takes no latents=": lambda pipe: "latents" not in _takes(pipe),
    r"takes no output_type=": lambda pipe: "output_type" not in _takes(pipe),
    r'does not give its latents by output_type="latent"': lambda pipe: '"latent"' not in _source(pipe),
    r"starts from a noised picture": _starts_from_a_picture,
    r"has no prepare_latents": lambda pipe: not hasattr(type(pipe), "prepare_latents"),
    r"is no flow-matching scheduler": _is_no_linear_flow,
    r"has no component named scheduler": lambda pipe: "scheduler" not in pipe.components,
    r"invert_sigmas=True|inverted sigmas": lambda pipe: pipe.scheduler.config.invert_sigmas,
    r"has no num_train_timesteps": lambda pipe: "num_train_timesteps" not in pipe.scheduler.config,
    r"within the 1 training times": lambda pipe: pipe.scheduler.config.num_train_timesteps == 1,
    r"sigmas up to 80": _runs_far_out,
    r"in the midst of a run cannot be decoded": _shows_clips,
    r"random numbers of no generator": lambda pipe: "latent_dist.sample()" in _source(pipe),
    r"the label of no class": lambda pipe: "class_labels" in _takes(pipe) and not hasattr(pipe, "null_class"),
    r"hands each frame of a clip to its scheduler": lambda pipe: isinstance(pipe.unet, UNet3DConditionModel),
    r"has \d schedulers": lambda pipe: sum(isinstance(one, SchedulerMixin) for one in pipe.components.values()) != 1,
    r"calls a network before the steps of its scheduler begin": lambda pipe: "prior" in pipe.components,
}
"""By what a sentence says: whether a pipeline has the property."""


def property_of(why: str) -> str | None:
    """The property that a refusal names; None where it names none."""
    return next((said for said in PROPERTIES if re.search(said, why)), None)
