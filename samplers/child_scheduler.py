"""What schedulers that hold another share."""

from __future__ import annotations

import inspect
from typing import Any


def times_for(child: Any, **given: Any) -> dict[str, Any]:
    """The arguments of `child.set_timesteps` among those given; what is None is left out.

    Raises:
        ValueError: for an argument that the child does not take.
    """
    given = {name: value for name, value in given.items() if value is not None}
    known = inspect.signature(child.set_timesteps).parameters
    if unknown := [name for name in given if name not in known]:
        raise ValueError(f"{type(child).__name__}.set_timesteps takes no {', '.join(unknown)}")
    return given
