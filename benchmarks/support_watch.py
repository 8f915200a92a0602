"""What a pipeline's networks are called with, seen from within their own `forward`.

It is patched on their classes, so that what is seen knows nothing of the package's hooks.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass
class Seen:
    """What the networks were called with.

    Attributes:
        evaluations: rows of all forwards of denoisers; ControlNets are part of the evaluation that takes their output.
        times: of each forward of a network that takes a time, by the network's class: one for each row.
    """

    evaluations: int = 0
    times: dict[str, list[list[float]]] = field(default_factory=dict)


_TIME_NAMES = ("timestep", "timesteps", "t", "r", "timestep_ratio")


def _networks(pipe: Any) -> list[torch.nn.Module]:
    """Components that are called with the time: by where diffusers defines their classes."""
    places = ("models.transformers", "models.unets", "models.controlnets", "wuerstchen")
    modules = [one for one in pipe.components.values() if isinstance(one, torch.nn.Module)]
    return [one for one in modules if any(place in type(one).__module__ for place in places) and _time_name(type(one))]


def _time_name(kind: type) -> str | None:
    names = inspect.signature(kind.forward).parameters
    return next((name for name in _TIME_NAMES if name in names), None)


@contextmanager
def watched(pipe: Any) -> Iterator[Seen]:
    """See every forward of a pipeline's networks while the context is open."""
    seen = Seen()
    kinds = {type(one) for one in _networks(pipe)}
    before = {kind: vars(kind).get("forward") for kind in kinds}
    for kind in kinds:
        kind.forward = _telling(kind, kind.forward, seen)
    try:
        yield seen
    finally:
        for kind, forward in before.items():
            if forward is None:
                del kind.forward
            else:
                kind.forward = forward


def _telling(kind: type, forward: Callable, seen: Seen) -> Callable:
    signature, time = inspect.signature(forward), _time_name(kind)
    counts = "controlnet" not in kind.__module__

    @functools.wraps(forward)
    def tell(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        sample = list(given.values())[1]
        if counts:
            seen.evaluations += len(sample)
        values = torch.as_tensor(given[time]).detach().double().reshape(len(torch.as_tensor(given[time]).reshape(-1)))
        if len(values) > len(sample):  # a time for each token or frame of a row
            values = values.reshape(len(sample), -1).amax(1)
        # A pipeline may pass fewer times than rows (PRX: one for each half of a guided batch).
        times = values.expand(len(sample)) if len(values) == 1 else values
        seen.times.setdefault(kind.__name__, []).append(times.tolist())
        return forward(*args, **kwargs)

    return tell
