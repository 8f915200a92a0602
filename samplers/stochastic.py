"""Steps that draw noise for any pipeline: by the scheduler of ours that fits the one it has."""

from __future__ import annotations

from diffusers import SchedulerMixin

from . import compat
from .diffusion_sde import DiffusionSDEScheduler
from .flow_sde import FlowSDEScheduler
from .wrapped import innermost

DEFAULT_INTEGRATOR = "precise"
"""Converges to the model's marginals on flows and diffusion alike, and asks for no other setting."""


def stochastic(scheduler: SchedulerMixin, integrator: str | None = None, seed: int = 0) -> SchedulerMixin:
    """A scheduler of ours whose steps draw noise, on the path of a pipeline's own.

    Args:
        scheduler: the pipeline's own: of a flow (`FlowSDEScheduler`), or of a diffusion (`DiffusionSDEScheduler`).
        integrator: a transition with its settings, such as "glass:inner_steps=4"; None keeps a scheduler of ours that
            draws noise already, and is "precise" for any other.
        seed: of the rows' noise, where no search gives it.

    Raises:
        ValueError: for a scheduler that is neither a flow's nor a diffusion's with a table of alphas_cumprod, and for
            an unknown transition.
    """
    own = innermost(scheduler)
    if integrator is None and getattr(own, "is_stochastic", False):
        return own
    chosen = integrator or DEFAULT_INTEGRATOR
    if compat.is_linear_flow(own):
        return FlowSDEScheduler.from_scheduler(own, integrator=chosen, diffusion=None, seed=seed)
    if hasattr(own, "alphas_cumprod"):
        return DiffusionSDEScheduler.from_scheduler(own, integrator=chosen, seed=seed)
    raise ValueError(
        f"{type(own).__name__} is neither a linear flow's scheduler nor one with alphas_cumprod, so no stochastic "
        "steps of ours go along its path; name a stochastic scheduler that fits the pipeline"
    )
