"""A pipeline's loop that begins with given latents in place of the noise that it draws.

Seam: `prepare_latents`. What the pipeline prepares beside its latents it prepares as ever. Cost: none.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .shadow import shadowed


@contextmanager
def started_from(
    pipe: Any, latents: Tensor, generators: Sequence[torch.Generator] = (), states: Sequence[Tensor] = ()
) -> Iterator[None]:
    """Let a pipeline's loop begin with given latents, while the context is open.

    What it prepares beside them it prepares as ever. Noise for latents of its own it draws from copies of its
    generators, which stand where they stood.

    Args:
        pipe: a pipeline with `prepare_latents`.
        latents: in the form that its steps have.
        generators: those that its call is given, if they are to stand elsewhere when the loop begins.
        states: at which they stand then.

    Raises:
        ValueError: within its call, for latents of another form.
    """

    def prepare_latents(original: Any, *args: Any, **kwargs: Any) -> Any:
        call = inspect.signature(original).bind(*args, **kwargs)
        if "generator" in call.arguments:
            call.arguments["generator"] = copy_generators(call.arguments["generator"])
        out = original(*call.args, **call.kwargs)
        own = out[0] if isinstance(out, tuple) else out
        if own.shape != latents.shape:
            raise ValueError(f"latents of shape {tuple(latents.shape)} where the pipeline has {tuple(own.shape)}")
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)
        given = latents.to(own)
        return (given, *out[1:]) if isinstance(out, tuple) else given

    with shadowed(pipe, "prepare_latents", prepare_latents):
        yield


def copy_generators(generator: Any) -> Any:
    """Generators of the same states, in the same form."""
    if isinstance(generator, torch.Generator):
        return generator.clone_state()
    if isinstance(generator, (list, tuple)):
        return [copy_generators(one) for one in generator]
    return generator
