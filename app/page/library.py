"""The library's slow imports, torch among them: made once, after the page answers."""

from __future__ import annotations

import threading
from importlib import import_module

MODULES = (
    "verifiers",
    "samplers.by_name",
    "pipelines.search.noise_search",
    "pipelines.superposition.superpose",
    "pipelines.loading",
)

_LOCK = threading.Lock()


def import_library() -> None:
    """Wait until the floors below are imported.

    Threads that import packages which import each other may see half-made modules, so the first to ask imports all.
    """
    with _LOCK:
        for module in MODULES:
            import_module(f"...{module}", __package__)
