"""Samplesmith: plug-ins that make any diffusers model sample better by spending inference compute well."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import assets, evaluation, fashion, pipelines, samplers, scenes, verifiers
    from .pipelines.class_conditional import ClassConditionalPipeline
    from .pipelines.loading import load
    from .pipelines.support import support
    from .samplers import (
        DiffusionSDEScheduler,
        FlowSDEScheduler,
        SteeredScheduler,
        SuperposedScheduler,
        TimeShiftScheduler,
        WeakToStrongGuidance,
        WindowedScheduler,
        ZigzagScheduler,
    )

__version__ = "0.1.0"
__all__ = [
    "ClassConditionalPipeline",
    "DiffusionSDEScheduler",
    "FlowSDEScheduler",
    "SteeredScheduler",
    "SuperposedScheduler",
    "TimeShiftScheduler",
    "WeakToStrongGuidance",
    "WindowedScheduler",
    "ZigzagScheduler",
    "assets",
    "evaluation",
    "fashion",
    "load",
    "pipelines",
    "samplers",
    "scenes",
    "support",
    "verifiers",
]

_MODULES = {"assets", "evaluation", "fashion", "pipelines", "samplers", "scenes", "verifiers"}
_NAMES = {
    "ClassConditionalPipeline": ".pipelines",
    "DiffusionSDEScheduler": ".samplers",
    "FlowSDEScheduler": ".samplers",
    "SteeredScheduler": ".samplers",
    "SuperposedScheduler": ".samplers",
    "TimeShiftScheduler": ".samplers",
    "WeakToStrongGuidance": ".samplers",
    "WindowedScheduler": ".samplers",
    "ZigzagScheduler": ".samplers",
    "load": ".pipelines.loading",
    "support": ".pipelines.support",
}
# diffusers looks for the base beside a saved class to know what it is.
_BASES = {"BaseGuidance": "diffusers.guiders", "SchedulerMixin": "diffusers"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: `import samplesmith` alone imports neither torch nor diffusers."""
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _NAMES:
        return getattr(import_module(_NAMES[name], __name__), name)
    if name in _BASES:
        return getattr(import_module(_BASES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
