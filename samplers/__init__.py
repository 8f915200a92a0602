"""What one step, or one round of a search, does."""

from . import interpolants, predictions, strategies
from .diffusion_sde import DiffusionSDEScheduler
from .flow_sde import FlowSDEScheduler
from .hooks import (
    IntervalExperts,
    SkippedLayers,
    SuperposedModel,
    WeakToStrongConfig,
    ZigzagConfig,
    apply_per_sample_time,
    apply_weak_to_strong,
    apply_zigzag,
    remove_weak_to_strong,
    remove_zigzag,
)
from .steered import SteeredScheduler
from .superposed import SuperposedScheduler
from .time_shift import TimeShiftScheduler
from .weak_to_strong_guidance import WeakToStrongGuidance
from .windowed import WindowedScheduler
from .zigzag import ZigzagScheduler

# Saved under the package's name, which serves the class when a pipeline is loaded: `import samplesmith` suffices.
for _public in (
    DiffusionSDEScheduler,
    FlowSDEScheduler,
    SteeredScheduler,
    SuperposedScheduler,
    TimeShiftScheduler,
    WeakToStrongGuidance,
    WindowedScheduler,
    ZigzagScheduler,
):
    _public.__module__ = "samplesmith"

__all__ = [
    "DiffusionSDEScheduler",
    "FlowSDEScheduler",
    "IntervalExperts",
    "SkippedLayers",
    "SteeredScheduler",
    "SuperposedModel",
    "SuperposedScheduler",
    "TimeShiftScheduler",
    "WeakToStrongConfig",
    "WeakToStrongGuidance",
    "WindowedScheduler",
    "ZigzagConfig",
    "ZigzagScheduler",
    "apply_per_sample_time",
    "apply_weak_to_strong",
    "apply_zigzag",
    "interpolants",
    "predictions",
    "remove_weak_to_strong",
    "remove_zigzag",
    "strategies",
]
