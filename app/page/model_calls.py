"""Looking at each call of a pipeline's model, whatever the pipeline: hooks on its denoisers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def before_calls(pipe: Any, look: Callable[[], None]) -> Iterator[None]:
    """Call `look` before each model call while the context is open; what it raises ends the pipeline's call."""
    from ...pipelines.counting import denoisers

    handles = [module.register_forward_pre_hook(lambda *_: look()) for module in denoisers(pipe)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
