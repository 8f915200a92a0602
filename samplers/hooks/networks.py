"""Which networks of a pipeline are called with the time: denoisers, priors, ControlNets, decoders that diffuse.

They are found by what their `forward` takes, a sample and a time beside it, and never by their place in the pipeline;
so nested pipelines, several transformers, and an autoencoder whose decoder is a diffusion model are found too.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from diffusers import DiffusionPipeline, ModelMixin
from diffusers.utils.torch_utils import unwrap_module
from torch import nn

_TIMES = {"t", "r", "time", "sigma"}
"""Names of an argument for the time, beside those that contain "timestep" or end with "_time"."""


def timed_networks(owner: Any) -> list[nn.Module]:
    """The networks of a pipeline that take a sample and a time.

    A network within another of them (the nets of a MultiControlNet) is left out: it is called by that one.

    Args:
        owner: a pipeline, or a network itself.

    Returns:
        each once, in the order of the pipeline's components; where no network takes a time (masked generation), the
        networks of diffusers that are no autoencoders. Empty where there are none.
    """
    modules = list(_modules(owner, set()))
    timed = {id(one): one for module in modules for one in _outermost(module, given=True)}
    if not timed:
        timed = {id(one): one for one in modules if isinstance(one, ModelMixin) and not hasattr(one, "decode")}
    return list(timed.values())


def time_arguments(module: nn.Module) -> list[str]:
    """Names of the arguments of a network's `forward` that are times by their name; empty where the first one is."""
    names = argument_names(module)
    found = [name for name in names if name in _TIMES or "timestep" in name or name.endswith("_time")]
    return [] if found[:1] == names[:1] else found  # the embedding of a time takes nothing else


def argument_names(module: nn.Module) -> list[str]:
    """Names of what a network's `forward` takes, in their order."""
    return list(_parameters(type(unwrap_module(module)).forward))[1:]


@functools.lru_cache(maxsize=512)
def _parameters(forward: Callable[..., Any]) -> tuple[str, ...]:
    """Names of a function's parameters; searches ask for those of the same few thousands of times."""
    return tuple(inspect.signature(forward).parameters)


def _modules(owner: Any, seen: set[int]) -> Iterator[nn.Module]:
    """Networks that an object holds, in nested pipelines and lists too."""
    if id(owner) in seen:
        return
    seen.add(id(owner))
    if isinstance(owner, nn.Module):
        yield owner
        return
    if isinstance(owner, DiffusionPipeline):
        held = vars(owner).values()
    elif isinstance(owner, dict):
        held = owner.values()
    elif isinstance(owner, (list, tuple)):
        held = owner
    else:
        return
    for one in held:
        yield from _modules(one, seen)


def _outermost(module: nn.Module, given: bool = False) -> Iterator[nn.Module]:
    """The outermost models within a module, itself included, that take a time.

    Args:
        given: a component as it is; within it only whole models count, no blocks, which take a time too.
    """
    waiting = [module]
    while waiting:
        one = waiting.pop()
        if (isinstance(one, ModelMixin) or (given and one is module)) and time_arguments(one):
            yield one
        else:
            waiting.extend(reversed(list(one.children())))
