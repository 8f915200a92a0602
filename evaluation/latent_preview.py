"""Fitting the linear preview of a model: pixels from latents, on clean predictions of its own runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..pipelines.call import PipelineCall, encode_once, quiet
from ..pipelines.decoding import decode, unpacked
from ..pipelines.previews import record_previews
from ..pipelines.quick_previews import LinearPreview
from ..pipelines.row import Row

RUNS = 16
"""Runs whose clean predictions are taken, a multiple of 4, by which pictures are held out."""


def fit_latent_preview(
    pipe: Any, prompts: Sequence[str | int], num_inference_steps: int, seed: int = 0, **pipeline_kwargs: Any
) -> LinearPreview:
    """Run a pipeline, and fit pixels to its latents: to clean predictions in the midst of runs, and at their ends.

    Args:
        pipe: with an image autoencoder.
        prompts: of the runs, in turn.
        num_inference_steps: of each run, at least 1.
        seed: of the first run.
        pipeline_kwargs: of each call.

    Raises:
        ValueError: for latents that are no image's.
    """
    call = PipelineCall(pipe, {**pipeline_kwargs, "num_inference_steps": num_inference_steps})
    size = pipeline_kwargs.get("height"), pipeline_kwargs.get("width")
    steps = sorted({num_inference_steps // 2, num_inference_steps - 1})
    latents: dict[int, list[torch.Tensor]] = {step: [] for step in steps}
    with quiet(pipe), encode_once(pipe), torch.no_grad():
        for k in range(RUNS):
            with record_previews(pipe, steps) as previews:
                call([Row(prompts[k % len(prompts)], seed + k)])
            for step in steps:  # by steps first, so that no run is fitted to and held out
                latents[step].append(previews.latents[step][:1])
        taken = torch.cat([one for step in steps for one in latents[step]])
        pictures = torch.cat([decode(pipe, some, *size).cpu() for some in taken.split(8)])
        if taken.ndim == 3:
            taken = unpacked(pipe, taken, *size)
    return LinearPreview.fit(taken.cpu(), pictures)
