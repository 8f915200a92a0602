"""Clean predictions at chosen steps of an unmodified pipeline, and their pictures.

Seam: the scheduler's `step`, shadowed on the instance, which is given the model's output after guidance. Nothing of the
run changes. Cost: a few operations of the latents' size a recorded step; a decode where pictures are asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..samplers.clean_prediction import clean_prediction, innermost, locate
from .shadow import shadowed


class Previews:
    """What `record_previews` has seen of the run under way.

    Attributes:
        latents: clean prediction formed in each step, (batch, ...) in the form of the pipeline's latents, float32.
    """

    def __init__(self, scheduler: Any, steps: Iterable[int | float] | None):
        self.latents: dict[int, Tensor] = {}
        self._scheduler = scheduler
        self._asked = None if steps is None else list(steps)
        self.reset()

    def reset(self) -> None:
        """Wait for a new run; what was recorded of the last one stays until it begins."""
        self._call: int | None = None

    def see(self, model_output: Tensor, timestep: float | Tensor, sample: Tensor) -> None:
        """Record a call of `step`.

        Raises:
            ValueError: at the first call of a run that lacks a step that was asked for.
        """
        if self._call is None:
            self._begin(timestep)
        step = max(0, self._call - self._warmup) // self._scheduler.order
        if step in self._wanted:  # the last of a step's calls stays
            self.latents[step] = clean_prediction(
                self._scheduler, model_output, self._times[self._call], sample, index=self._call
            ).detach()
        self._call += 1

    def _begin(self, timestep: float | Tensor) -> None:
        self.latents.clear()
        self._call = locate(self._scheduler, timestep)
        self._times = self._scheduler.timesteps.tolist()  # once a run, so that no step waits for the device
        order, steps = self._scheduler.order, self._scheduler.num_inference_steps
        # PNDM makes more calls than steps: as in pipelines' progress bars, those of its start count as its first step.
        self._warmup = max(0, len(self._times) - steps * order)
        known = range(steps)
        asked = known if self._asked is None else [_early(s, steps) if isinstance(s, float) else s for s in self._asked]
        if missing := [step for step in asked if not -steps <= step < steps]:
            raise ValueError(f"no step {', '.join(map(str, missing))} in a run of {steps}; give 0 to {steps - 1}")
        self._wanted = {known[step] for step in asked}


def _early(share: float, steps: int) -> int:
    """Number of the step that ends a share of a run; never the last, whose prediction is the finished sample."""
    if steps < 2:
        raise ValueError("a run of one step has no clean prediction before its last; give it two steps or more")
    return min(max(round(share * steps), 1), steps - 1) - 1


@contextmanager
def record_previews(pipe: Any, steps: Iterable[int | float] | None = None) -> Iterator[Previews]:
    """Record clean predictions while the context is open; of several calls of the pipeline, the last one's stay.

    Calls that resume a run by windows (`WindowedScheduler`) go on with its steps.

    Args:
        pipe: a diffusers pipeline; its scheduler is as it was afterwards.
        steps: numbers of steps, from 0; negative ones count from the end; a float in (0, 1) is the share of the run
            that a step before the last ends; None for all.

    Raises:
        ValueError: within the pipeline's call, for a step that the run does not have or a scheduler whose path is not
            known.
    """
    scheduler = innermost(pipe.scheduler)
    previews = Previews(scheduler, steps)

    def seen_step(
        step: Any, model_output: Tensor, timestep: float | Tensor, sample: Tensor, *args: Any, **kwargs: Any
    ) -> Any:
        previews.see(model_output, timestep, sample)
        return step(model_output, timestep, sample, *args, **kwargs)

    def new_timesteps(set_timesteps: Any, *args: Any, **kwargs: Any) -> Any:
        previews.reset()
        return set_timesteps(*args, **kwargs)

    with shadowed(scheduler, "step", seen_step), shadowed(scheduler, "set_timesteps", new_timesteps):
        yield previews


@torch.no_grad()
def decode(pipe: Any, latents: Tensor, height: int | None = None, width: int | None = None) -> Tensor:
    """Pictures of latents or of clean predictions, as the pipeline itself makes them at its end.

    Args:
        pipe: a pipeline with an image autoencoder, or one whose latents are pixels in [-1, 1].
        latents: (batch, channels, height, width), or packed as FLUX has them, (batch, positions, channels).
        height, width: of the pictures, for packed latents; None for the pipeline's default.

    Returns:
        (batch, 3, height, width) in [0, 1], float32.

    Raises:
        ValueError: for packed latents of a size other than the picture's or that the pipeline cannot unpack, or latents
            that are no image's.
    """
    vae = getattr(pipe, "vae", None)
    if vae is None:
        return _pixels(latents, type(pipe).__name__)
    if latents.ndim == 3:
        latents = _unpacked(pipe, latents, height, width)
    if latents.ndim != 4:
        raise ValueError(f"latents of shape {tuple(latents.shape)} are no image's; only images can be decoded here")
    config = vae.config
    mean, std = config.get("latents_mean"), config.get("latents_std")
    scale = config.get("scaling_factor") or 1.0
    if mean is not None and std is not None:
        mean, std = (latents.new_tensor(values)[:, None, None] for values in (mean, std))
        latents = latents * std / scale + mean
    else:
        latents = latents / scale + (config.get("shift_factor") or 0.0)
    with _without_overflow(vae):
        images = vae.decode(latents.to(pipe._execution_device, vae.dtype), return_dict=False)[0]
    return _pixels(images, type(pipe).__name__)


@contextmanager
def _without_overflow(vae: Any) -> Iterator[None]:
    """Run an autoencoder that overflows in float16, as SDXL's does, in float32."""
    if vae.dtype != torch.float16 or not vae.config.get("force_upcast"):
        yield
        return
    vae.to(torch.float32)
    try:
        yield
    finally:
        vae.to(torch.float16)


def _unpacked(pipe: Any, latents: Tensor, height: int | None, width: int | None) -> Tensor:
    if not hasattr(pipe, "_unpack_latents"):
        raise ValueError(
            f"{type(pipe).__name__} does not unpack latents of shape {tuple(latents.shape)}; give (batch, channels, "
            "height, width)"
        )
    factor = pipe.vae_scale_factor
    height, width = (side or pipe.default_sample_size * factor for side in (height, width))
    positions = (height // (2 * factor)) * (width // (2 * factor))
    if positions != latents.shape[1]:
        raise ValueError(
            f"a picture of {height} x {width} has {positions} packed positions, these latents {latents.shape[1]}; pass "
            "the height and width that they were made with"
        )
    return pipe._unpack_latents(latents, height, width, factor)


def _pixels(images: Tensor, name: str) -> Tensor:
    """From [-1, 1] to [0, 1], with three channels."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"{name} leaves {tuple(images.shape)}, which are no images; give it a vae")
    return (images.float() / 2 + 0.5).clamp(0, 1).expand(-1, 3, -1, -1)
