"""The noises of further seeds within a pipeline's call, in the form that its steps have: as it prepared its own.

Seam: `prepare_latents`, whose call is kept and made again with another generator. Cost: the drawing; no NFE.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..samplers.hooks.caching import check_calls_alone
from ..samplers.noise import InitialNoise
from .shadow import shadowed


@contextmanager
def initial_noises(pipe: Any) -> Iterator[InitialNoise]:
    """Gives what `SteeredScheduler` begins other candidates with, while the context is open around the pipeline's call.

    Args:
        pipe: a pipeline with `prepare_latents`, which packs or scales what it draws (FLUX packs).

    Raises:
        ValueError: where a noise is asked for before the pipeline has prepared its own, and for a pipeline whose
            networks cache what they said in the call before.
    """
    check_calls_alone(pipe)
    kept: list[tuple[inspect.BoundArguments, int]] = []

    def prepare_latents(original: Any, *args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        latents = out[0] if isinstance(out, tuple) else out
        kept[:] = [(inspect.signature(original).bind(*args, **kwargs), len(latents))]
        return out

    own = pipe.prepare_latents

    def noise(seed: int, like: Tensor) -> Tensor:
        if not kept:
            raise ValueError("the pipeline has prepared no latents yet; open initial_noises around its call")
        call, rows = kept[0]
        again = inspect.BoundArguments(call.signature, call.arguments.copy())
        # One for each row: each then draws as a row alone does.
        again.arguments["generator"] = [torch.Generator().manual_seed(seed) for _ in range(rows)]
        if "latents" in call.signature.parameters:
            again.arguments["latents"] = None
        out = own(*again.args, **again.kwargs)
        latents: Tensor = out[0] if isinstance(out, tuple) else out
        return latents[:1].to(like)

    with shadowed(pipe, "prepare_latents", prepare_latents):
        yield noise
