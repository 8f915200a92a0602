"""All that depends on how diffusers names or passes things; a test watches each entry.

What shows in a scheduler's values or signatures is read there; names are used only where nothing else tells.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from diffusers import UNet3DConditionModel
from torch import Tensor

ONLY_WHERE_THE_CHILD_HAS_THEM = ("add_noise", "scale_noise")
"""Methods by whose presence pipelines and users tell schedulers apart, so that we have them where the child does."""

SHARED_BY_ROWS = frozenset({"img_ids", "txt_ids"})
"""Arguments of denoisers that hold positions and no rows (FLUX), however many of either there are."""


def whole_config(scheduler: Any) -> dict[str, Any]:
    """A scheduler's config for `from_config` of another class, with all that was set.

    `from_config` leaves out what is noted as the class's own default, so that another class takes its own. Positional
    arguments and values that were registered after construction stand in that note too, and would be lost.
    """
    config = dict(scheduler.config)
    parameters = inspect.signature(type(scheduler).__init__).parameters
    noted = config.get("_use_default_values", ())
    config["_use_default_values"] = [
        name for name in noted if name in parameters and parameters[name].default == config.get(name)
    ]
    return config


def takes_one_time(scheduler: Any) -> bool:
    """Whether a step takes one time and one sample; CogVideoX's DPM-Solver and few-step ones do not."""
    parameters = list(inspect.signature(type(scheduler).step).parameters.values())[1:]
    needed = [one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    return needed == ["model_output", "timestep", "sample"] and "r_timestep" not in {one.name for one in parameters}


def place_step(scheduler: Any, index: int) -> None:
    """Tell a scheduler that counts its steps where its run begins, so that it need not search its list of times.

    Not by `set_begin_index`, with which `add_noise` would no longer look at the times that it is given.
    """
    if getattr(scheduler, "_step_index", 0) is None:
        scheduler._step_index = index


def count_step(scheduler: Any, index: int) -> None:
    """Tell a scheduler that counts its steps that one was made in its place."""
    if hasattr(scheduler, "_step_index"):
        scheduler._step_index = index + 1


def scales_input(scheduler: Any) -> bool:
    """Whether the steps of a solver of order 1 are wrong where `scale_model_input` is not called before each."""
    return hasattr(scheduler, "is_scale_input_called")


def check_noise_by_row(scheduler: Any) -> None:
    """Whether a scheduler's noise belongs to rows: not where a Brownian tree is drawn of the whole batch.

    Raises:
        ValueError: where it does not.
    """
    if getattr(scheduler, "noise_sampler", None) is not None:
        raise ValueError(f"{type(scheduler).__name__} draws the noise of a whole batch, so no row can go on alone")


def steps_frames_as_rows(pipe: Any) -> bool:
    """Whether a pipeline hands each frame of its clips to the scheduler as a row: those with UNets of three dimensions.

    Nothing in the pipeline's signature or in its scheduler tells; the reshaping stands in its loop.
    """
    return any(isinstance(one, UNet3DConditionModel) for one in pipe.components.values())


def is_linear_flow(scheduler: Any) -> bool:
    """Whether its samples are (1 - sigma) x_0 + sigma eps, its model predicts eps - x_0, and its times are sigmas.

    Flow-matching schedulers noise by `scale_noise` and have no betas; multistep solvers (Sana, Wan) say that they
    predict a flow on flow sigmas.
    """
    if hasattr(scheduler, "alphas_cumprod"):
        return predicts_flow(scheduler.config)
    return _is_flow(scheduler) and not grows_without_bound(scheduler)


def predicts_flow(config: Mapping[str, Any]) -> bool:
    """Whether the config of a solver that has betas turns it into one of linear flows."""
    return config.get("prediction_type") == "flow_prediction" and bool(config.get("use_flow_sigmas"))


def grows_without_bound(scheduler: Any) -> bool:
    """Whether it is a flow-matching scheduler on another path, x_0 + sigma eps: Cosmos 2 registers sigmas up to 80."""
    return _is_flow(scheduler) and (scheduler.config.get("sigma_max") or 0.0) > 1


def _is_flow(scheduler: Any) -> bool:
    known = hasattr(scheduler, "scale_noise") and "num_train_timesteps" in scheduler.config
    return known and not hasattr(scheduler, "alphas_cumprod") and takes_one_time(scheduler)


def exceeds_one(scheduler: Any) -> bool:
    """Whether the run under way has sigmas that no linear path has, as a pipeline may have passed them.

    Some shifts (1.9765 for one) round the first sigma of diffusers to a little more than 1.
    """
    sigmas = getattr(scheduler, "sigmas", None)
    return isinstance(sigmas, Tensor) and sigmas.numel() > 0 and float(sigmas.max()) > 1 + 1e-5


def keeps_variance(scheduler: Any) -> bool:
    """Whether a solver with a list of sigmas keeps the sample's variance: those in log-SNR (DPM-Solver, UniPC, DEIS).

    The others, where `scale_model_input` is called, let it grow: x_0 + sigma eps.
    """
    return hasattr(scheduler, "lambda_t")


def repeats_times(scheduler: Any) -> bool:
    """Whether a solver of order 1 calls the model twice at a time: PNDM, at its second."""
    return hasattr(scheduler, "cur_model_output")


def calls_between_sigmas(scheduler: Any) -> bool:
    """Whether every second model call is between two sigmas: KDPM2 and its ancestral form."""
    return hasattr(scheduler, "sigmas_interpol")


def step_target(scheduler: Any, index: int, times: list[float]) -> tuple[str, int] | None:
    """Table and entry from which a step reads the noise level that it leads to; None where that is not known.

    Args:
        scheduler: whose timesteps are set.
        index: of the step.
        times: of its run.
    """
    if isinstance(getattr(scheduler, "sigmas", None), Tensor):
        return "sigmas", index + 1
    aims_between = "eta" in inspect.signature(type(scheduler).step).parameters  # TCD, before it adds noise
    if hasattr(scheduler, "previous_timestep"):  # DDPM, LCM
        return None if aims_between else ("alphas_cumprod", int(times[index + 1]))
    if hasattr(scheduler, "cur_model_output"):  # PNDM, whose second call aims at the first one's target again
        return "alphas_cumprod", int(times[index + 1])
    if hasattr(scheduler, "final_alpha_cumprod"):  # DDIM
        stride = scheduler.config.num_train_timesteps // scheduler.num_inference_steps
        return "alphas_cumprod", int(times[index]) - stride
    return None
