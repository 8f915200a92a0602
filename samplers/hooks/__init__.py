"""What happens at each call of a denoiser: hooks in diffusers' own registry, which come off again."""

from .counters import EvaluationCounter, count_evaluations
from .denoiser_hook import Attached, DenoiserHook, attach
from .networks import timed_networks
from .row_times import PerSampleTime, RowTimes, apply_per_sample_time
from .superposed_model import SuperposedModel

__all__ = [
    "Attached",
    "DenoiserHook",
    "EvaluationCounter",
    "PerSampleTime",
    "RowTimes",
    "SuperposedModel",
    "apply_per_sample_time",
    "attach",
    "count_evaluations",
    "timed_networks",
]
