"""Hooks that carry something over from one call of a network to the next: caches, which save calls by likeness.

A cache (first-block, FasterCache, pyramid attention, TaylorSeer, ...) takes it that the next call is the next step of
the same samples. Where calls are those of other samples, or jump in time, it would answer with another one's output.
"""

from __future__ import annotations

from typing import Any

from .denoiser_hook import DenoiserHook
from .networks import timed_networks


def check_calls_alone(pipe: Any) -> None:
    """Whether each call of a pipeline's denoisers depends on its own inputs alone.

    Raises:
        ValueError: where a hook that is not ours carries something over.
    """
    for network in timed_networks(pipe):
        for module in network.modules():
            registry = getattr(module, "_diffusers_hook", None)
            for name, hook in getattr(registry, "hooks", {}).items():
                if hook._is_stateful and not isinstance(hook, DenoiserHook):
                    raise ValueError(
                        f"the hook {name} caches what a network said in the call before, and the next call may be of "
                        "another sample or time here; take it off (disable_cache)"
                    )
