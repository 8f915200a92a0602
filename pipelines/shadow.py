"""Methods of one object replaced for a while: the only place of the package that does so.

Seam: the instance's own dictionary, where Python looks before the class. What stood there before, a user's own method
included, stands there again afterwards. Cost: a call.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def shadowed(owner: Any, name: str, replacement: Callable[..., Any]) -> Iterator[None]:
    """Call `replacement(original, ...)` wherever `owner.name(...)` is called while the context is open.

    Contexts nest: the innermost replacement is called, and its original is the next one. They end in the reverse order
    of their beginning, after errors too. The signature stays the original's, as pipelines read it. In a deep copy of
    the object the replacement stays, around the copy's own method.

    Args:
        owner: an object with attributes of its own (pipeline, scheduler, module).
        name: of a method, or of a function that a user has set on the object.
        replacement: takes the original, bound, before the arguments of the call.

    Raises:
        AttributeError: where the object has no such method.
    """
    stand_in = _StandIn(owner, getattr(owner, name), replacement)
    own = vars(owner)  # written directly: an object's __setattr__ may hand the method on to another one
    had, before = name in own, own.get(name)
    own[name] = stand_in
    try:
        yield
    finally:
        if had:
            own[name] = before
        else:
            own.pop(name, None)


class _StandIn:
    """A method that calls a replacement and shows the original's name and signature."""

    def __init__(self, owner: Any, original: Callable[..., Any], replacement: Callable[..., Any]):
        functools.update_wrapper(self, original)
        self.owner, self.original, self.replacement = owner, original, replacement

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.replacement(self.original, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> _StandIn:
        if id(self.owner) not in memo:  # the method alone is copied
            return self
        return _StandIn(memo[id(self.owner)], copy.deepcopy(self.original, memo), self.replacement)
