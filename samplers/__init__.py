"""What one step, or one round of a search, does."""

from . import interpolants, predictions, strategies
from .diffusion_sde import DiffusionSDEScheduler
from .flow_sde import FlowSDEScheduler
from .hooks import SuperposedModel, apply_per_sample_time
from .steered import SteeredScheduler
from .superposed import SuperposedScheduler
from .time_shift import TimeShiftScheduler
from .windowed import WindowedScheduler

# Saved under the package's name, which serves the class when a pipeline is loaded: `import samplesmith` suffices.
for _public in (
    DiffusionSDEScheduler,
    FlowSDEScheduler,
    SteeredScheduler,
    SuperposedScheduler,
    TimeShiftScheduler,
    WindowedScheduler,
):
    _public.__module__ = "samplesmith"

__all__ = [
    "DiffusionSDEScheduler",
    "FlowSDEScheduler",
    "SteeredScheduler",
    "SuperposedModel",
    "SuperposedScheduler",
    "TimeShiftScheduler",
    "WindowedScheduler",
    "apply_per_sample_time",
    "interpolants",
    "predictions",
    "strategies",
]
