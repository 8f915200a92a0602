"""The clean sample that a model's output implies, x0-hat, at any step of any diffusers scheduler whose path is known.

Where on the path a sample stands is read as the scheduler itself reads it: from its `sigmas` at the step under way,
else from `alphas_cumprod` at the time. So x0-hat is the one that its step uses, clipped where the scheduler clips.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import compat
from .interpolants import Interpolant, Linear, NoiseRatio
from .interpolants import from_scheduler as path_of
from .live_timesteps import index_of
from .predictions import Prediction
from .wrapped import Wrapped, innermost


def locate(scheduler: Any, timestep: float | Tensor) -> int:
    """Index of a time in the whole run of a scheduler; without a host sync where it is a view of an entry.

    Args:
        scheduler: whose timesteps are set; of one that wraps another (time shift, windows), the time is one that it
            shows, and the index that of the child's run.
        timestep: an entry of its `timesteps`.

    Raises:
        ValueError: for a time that is no entry.
    """
    if isinstance(scheduler, Wrapped):
        return scheduler.run_index(timestep)
    return index_of(scheduler.timesteps, timestep)


def clean_prediction(
    scheduler: Any, model_output: Tensor, timestep: float | Tensor, sample: Tensor, index: int | None = None
) -> Tensor:
    """x0-hat of a step.

    Args:
        scheduler: whose timesteps are set; one that wraps another (time shift, windows) is read as its child.
        model_output: as `step` takes it, (batch, ...): noise, clean sample, v or velocity, as the config says. Channels
            beyond the sample's, a learned variance, are left out.
        timestep: an entry of `timesteps`.
        sample: as `step` takes it, of the model output's shape.
        index: of the entry, where it is known.

    Returns:
        of the sample's shape, float32.

    Raises:
        ValueError: for a scheduler whose path is not known, or a time that is no entry.
    """
    inner = innermost(scheduler)
    if inner is not scheduler:
        index = locate(scheduler, timestep) if index is None else index
        scheduler, timestep = inner, inner.timesteps[index]
    return clipped(scheduler, prediction(scheduler, model_output, timestep, sample, index).x0)


def prediction(
    scheduler: Any, model_output: Tensor, timestep: float | Tensor, sample: Tensor, index: int | None = None
) -> Prediction:
    """The clean sample and the noise that a model's output implies, unclipped.

    Args:
        scheduler: that wraps no other; else as `clean_prediction`.
        model_output, timestep, sample, index: as `clean_prediction` takes them.

    Raises:
        ValueError: as `clean_prediction`.
    """
    path, t = _place(scheduler, known_path(scheduler), timestep, index)
    if model_output.shape[1] == 2 * sample.shape[1]:
        model_output = model_output[:, : sample.shape[1]]
    return Prediction.read(prediction_kind(scheduler), model_output, sample, path, t)


def prediction_kind(scheduler: Any) -> str:
    """What the model of a scheduler that wraps no other predicts, as `predictions.py` names it."""
    if isinstance(known_path(scheduler), Linear):
        return "velocity"
    # A flow's scheduler far beyond sigma 1 steps along the noise.
    return "epsilon" if compat.grows_without_bound(scheduler) else scheduler.config.prediction_type


def place_of(scheduler: Any, path: Interpolant, call: int) -> tuple[Interpolant, Tensor]:
    """The path, and the time on it, where samples stand before a call of `step`.

    Args:
        scheduler: that wraps no other, whose timesteps are set.
        path: its own (`known_path`).
        call: number in the run; the number of calls for the finished sample.
    """
    if call < len(scheduler.timesteps):
        return _place(scheduler, path, scheduler.timesteps[call], call)
    return Linear(), torch.zeros((), dtype=torch.float64)


def known_path(scheduler: Any) -> Interpolant:
    """The path of a scheduler that wraps no other.

    Raises:
        ValueError: where it is not known, and so no clean prediction either.
    """
    return path_of(scheduler)


def _place(
    scheduler: Any, path: Interpolant, timestep: float | Tensor, index: int | None
) -> tuple[Interpolant, Tensor]:
    """The path, and the time on it, at which a step's sample stands."""
    t = timestep if isinstance(timestep, Tensor) else torch.tensor(timestep, dtype=torch.float64)
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is None or not hasattr(scheduler, "step_index"):
        return path, t
    index = locate(scheduler, timestep) if index is None else index
    if isinstance(path, (Linear, NoiseRatio)):
        return path, sigmas[index]
    preserving = compat.keeps_variance(scheduler)
    if compat.calls_between_sigmas(scheduler) and index % 2:
        return NoiseRatio(preserving), (-path.log_snr(t) / 2).exp()
    return NoiseRatio(preserving), sigmas[index]


def clipped(scheduler: Any, x0: Tensor) -> Tensor:
    """A clean prediction, held where the scheduler holds its own."""
    if scheduler.config.get("thresholding"):
        return scheduler._threshold_sample(x0)
    if scheduler.config.get("clip_sample"):
        reach = scheduler.config.get("clip_sample_range", 1.0)
        return x0.clamp(-reach, reach)
    return x0
