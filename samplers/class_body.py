"""The body of a class that is ours and a child's: which methods run on the child, and which signatures ours show."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from diffusers import ConfigMixin, SchedulerMixin
from diffusers.utils import PushToHubMixin

from . import compat


def class_body(public: type, kind: type, base: type) -> dict[str, Any]:
    """Attributes of the class of `public` around children of `kind`.

    What the child's class defines and ours does not is called on the child. What both define is ours, with the child's
    signature. What ours defines for children that have it (`add_noise`) is hidden where the child has none.

    Args:
        public: the class that overrides some of a scheduler's methods.
        kind: the child's class.
        base: of all such public classes, with `ask_child` and `child`.
    """
    body = {name: getattr(public, name) for name in ("__module__", "__qualname__", "__doc__")}
    ours: dict[str, Any] = {}
    for one in reversed(public.__mro__):
        if issubclass(one, base):
            ours |= vars(one)
    for name, member in _members(kind, base).items():
        if name not in ours:
            body[name] = _forwarded(name, member)
        elif isinstance(ours[name], types.FunctionType) and isinstance(member, types.FunctionType):
            body[name] = _presented(ours[name], member)
    for name in compat.ONLY_WHERE_THE_CHILD_HAS_THEM:
        if name in ours and not hasattr(kind, name):
            body[name] = _Absent(name)
    return body


def _members(kind: type, base: type) -> dict[str, Any]:
    """Methods and properties that a class of schedulers defines beyond what all have."""
    found: dict[str, Any] = {}
    for one in reversed(kind.__mro__):
        if one not in (object, SchedulerMixin, ConfigMixin, PushToHubMixin, base):
            found |= {name: member for name, member in vars(one).items() if not name.startswith("__")}
    # An attribute or a classmethod that stands in a method's place hides it.
    return {name: member for name, member in found.items() if isinstance(member, (types.FunctionType, property))}


def _forwarded(name: str, member: Any) -> Any:
    """A method or property of the child, that sees its state as the child's code does."""
    if isinstance(member, property):
        setter = None if member.fset is None else lambda self, value: setattr(self.child, name, value)
        return property(lambda self: getattr(self.child, name), setter, doc=member.__doc__)

    @functools.wraps(member)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return self.ask_child(name, *args, **kwargs)

    return method


def _presented(override: Callable[..., Any], member: Callable[..., Any]) -> Callable[..., Any]:
    """An override of ours that takes what the child's method takes, and says so: pipelines read signatures."""

    @functools.wraps(member)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return override(self, *args, **kwargs)

    method.__doc__ = override.__doc__
    return method


class _Absent:
    """A method that this child does not have."""

    def __init__(self, name: str):
        self.name = name

    def __get__(self, owner: Any, kind: type) -> Any:
        raise AttributeError(f"{kind.__name__!r} object has no attribute {self.name!r}: its child has none")
