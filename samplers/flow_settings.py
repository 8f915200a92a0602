"""The settings of linear flows' schedulers, from the words of one class into those of another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import compat


def flow_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a linear flow's scheduler in the words of FlowMatchEulerDiscreteScheduler.

    Raises:
        ValueError: for one that is no linear flow's, or has what that class does not know.
    """
    of_a_flow = str(config.get("_class_name")).startswith("FlowMatch")  # it may carry another class's betas along
    if "beta_start" in config and not of_a_flow:
        if not compat.predicts_flow(config):
            raise ValueError(
                "the config is of no flow-matching scheduler: it has betas, and does not predict a flow on flow sigmas"
            )
        spaced = [name for name in ("karras", "exponential", "beta") if config.get(f"use_{name}_sigmas")]
        if spaced or config.get("use_lu_lambdas"):
            raise ValueError("the config spaces the sigmas of a diffusion, not those of a flow; its path is not known")
        shared = ("num_train_timesteps", "use_dynamic_shifting", "time_shift_type", "shift_terminal")
        mapped = {"shift": config["flow_shift"], **{name: config[name] for name in shared if name in config}}
        # What only the other class knows stays in the config, for the way back.
        return {**config, **mapped}
    if config.get("scale_factors"):
        raise ValueError("the config enlarges the sample between steps (scale_factors), which no flow does")
    return dict(config)


def settings_of(scheduler: Any) -> dict[str, Any]:
    """The config of a linear flow's scheduler with all that was set, after its construction too.

    Raises:
        ValueError: for a scheduler of another kind.
    """
    name = type(scheduler).__name__
    if not compat.is_linear_flow(scheduler) and not compat.grows_without_bound(scheduler):
        raise ValueError(f"{name} is no flow-matching scheduler; FlowSDEScheduler samples SD3, FLUX and such")
    config = compat.whole_config(scheduler)
    now = {"_class_name": name}
    if hasattr(type(scheduler), "shift"):  # what was set by methods is not in the config
        now["shift"] = scheduler.shift
    if hasattr(scheduler, "_scale_factors"):
        now["scale_factors"] = scheduler._scale_factors
    config["_use_default_values"] = [key for key in config["_use_default_values"] if key not in now]
    return {**config, **now}
