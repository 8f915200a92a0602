"""The base of our denoiser hooks: put on and taken off in a known order, beneath accelerate's offloading.

Seam: diffusers' `HookRegistry`, as its own caching hooks use it. A registry calls the hook that was registered last
first. Ours stand by their `place`, whatever the order in which they were put on. Accelerate's hooks wrap a module's
`forward` too, and take their wrapper off and on after each call of a pipeline; what was put on above it would be lost
then, so ours stand below it always. Cost: a Python call for each hook.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import MethodType
from typing import Any, ClassVar

from diffusers.hooks import HookRegistry, ModelHook
from torch import nn

_numbers = count()


class DenoiserHook(ModelHook):
    """A hook of ours.

    Attributes:
        place: from the network outwards. Counters (0) see every forward that is really made; what makes or changes
            calls of the model (1) sees them before; the times of the rows (2) reach all of it.
    """

    place: ClassVar[int] = 1


class Attached:
    """A hook on a module, as `attach` returns it."""

    def __init__(self, module: nn.Module, name: str):
        self._module = module
        self._name = name

    def remove(self) -> None:
        """Take the hook off; the module's own `forward` and other hooks stay. A second time does nothing."""
        registry = HookRegistry.check_if_exists_or_initialize(self._module)
        if self._name not in registry.hooks:
            return
        with _beneath_offload(self._module):
            _take_out(registry, self._name)
            _drop_needless_forward(self._module)


def attach(module: nn.Module, hook: DenoiserHook) -> Attached:
    """Put a hook on a module, below our hooks of a higher place and above all others.

    Args:
        module: a denoiser, offloaded, compiled or plain.
        hook: one object for each module.
    """
    registry = HookRegistry.check_if_exists_or_initialize(module)
    name = f"samplesmith.{type(hook).__name__}.{next(_numbers)}"
    above = [
        (known, other)
        for known in registry._hook_order
        if isinstance(other := registry.hooks[known], DenoiserHook) and other.place > hook.place
    ]
    with _beneath_offload(module):
        for known, _ in reversed(above):
            registry.remove_hook(known, recurse=False)
        registry.register_hook(hook, name)
        for known, other in above:
            registry.register_hook(other, known)
    return Attached(module, name)


def _take_out(registry: HookRegistry, name: str) -> None:
    """Remove a hook from a registry, wherever it stands.

    A registry puts what was beneath the hook in place of the forward of the one above, which is right where that one
    only looks at calls; one that makes the calls itself (`new_forward`) would be passed over from then on.
    """
    above = registry._fn_refs[registry._hook_order.index(name) + 1 :][:1]
    forwards = [one.forward for one in above]
    registry.remove_hook(name, recurse=False)
    for one, forward in zip(above, forwards, strict=True):
        if one.original_forward is not None:
            one.original_forward, one.forward = one.forward, forward


@contextmanager
def _beneath_offload(module: nn.Module) -> Iterator[None]:
    """Let `module.forward` be what accelerate's hook calls, while the context is open; no weights are moved."""
    if not hasattr(module, "_old_forward"):
        yield
        return
    hooked: Any = module  # torch takes attributes of modules for tensors
    outside = hooked.forward
    hooked.forward = hooked._old_forward
    try:
        yield
    finally:
        hooked._old_forward = hooked.forward
        hooked.forward = outside


def _drop_needless_forward(module: nn.Module) -> None:
    """Take the class's own method off the instance, where a registry leaves it."""
    own = vars(module).get("forward")
    if isinstance(own, MethodType) and own.__self__ is module and own.__func__ is type(module).forward:
        del module.forward
