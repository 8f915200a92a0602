"""The stock scheduler by which a student steps: it carries the time of the first step in its config."""

from __future__ import annotations

from typing import Any

from diffusers import DPMSolverMultistepScheduler, LCMScheduler

from ...samplers.compat import is_linear_flow

FIRST = 0.4
"""Share of a diffusion's schedule where its student begins: at the very end epsilon says little of the clean sample
(DMD2, arXiv 2405.14867, takes 399 of 1,000)."""

SHIFT = 3.0
"""Of a flow's grid: the last step stays at a time with something left to do."""


def student_scheduler(teacher: Any, first: float = FIRST, shift: float = SHIFT) -> Any:
    """A scheduler for a teacher's students.

    - Of a flow: Euler's steps from time 1, by `DPMSolverMultistepScheduler` of first order on flow sigmas. Its grid
      ends above 0, where `FlowMatchEulerDiscreteScheduler` spends the last step at sigma .001.
    - Of a diffusion: `LCMScheduler` on the first part of the teacher's schedule; between its steps it puts fresh
      noise back (consistency sampling).

    Args:
        teacher: the teacher's scheduler.
        first: the share of a diffusion's schedule where the student begins.
        shift: of a flow's grid.

    Raises:
        ValueError: for a share outside of (0, 1], or of too few timesteps.
    """
    if is_linear_flow(teacher):
        return DPMSolverMultistepScheduler(
            num_train_timesteps=teacher.config.num_train_timesteps,
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=shift,
            solver_order=1,
        )
    config = teacher.config
    steps = round(first * config.num_train_timesteps)
    if not 0 < first <= 1 or steps < 2:
        raise ValueError(f"the student begins at {first:g} of the teacher's schedule; give a share in (0, 1]")
    by_ends = config.beta_schedule in ("linear", "scaled_linear") and config.get("trained_betas") is None
    betas: dict[str, Any] = {"beta_start": config.beta_start, "beta_schedule": config.beta_schedule}
    betas["beta_end"] = float(teacher.betas[steps - 1])
    if not by_ends:
        betas = {"trained_betas": teacher.betas[:steps].tolist()}
    return LCMScheduler(
        num_train_timesteps=steps,
        prediction_type=config.prediction_type,
        original_inference_steps=min(50, steps),
        **betas,
    )


def student_times(scheduler: Any, steps: int) -> tuple[float, ...]:
    """Times of the path at which a student is called in a run of that many steps."""
    scheduler.set_timesteps(steps)
    if is_linear_flow(scheduler):
        return tuple(scheduler.sigmas[:-1].tolist())
    return tuple(float(t) for t in scheduler.timesteps)


def redraws(scheduler: Any) -> bool:
    """Whether a student's scheduler puts fresh noise back between its steps, and not the predicted one."""
    return isinstance(scheduler, LCMScheduler)
