"""What happens at each call of a denoiser: hooks in diffusers' own registry, which come off again."""

from .counters import EvaluationCounter, count_evaluations
from .denoiser_hook import Attached, DenoiserHook, attach
from .guidance_rules import GuidanceAt, PipelineGuidance, Rule, WeakToStrong
from .interval_experts import IntervalExperts
from .networks import timed_networks
from .row_times import PerSampleTime, RowTimes, apply_per_sample_time
from .superposed_model import SuperposedModel
from .weak_predictors import FromPrediction, OtherNetwork, SkippedLayers, Weak
from .weak_to_strong import WeakToStrongConfig, apply_weak_to_strong, remove_weak_to_strong
from .zigzag import ZigzagConfig, apply_zigzag, remove_zigzag

__all__ = [
    "Attached",
    "DenoiserHook",
    "EvaluationCounter",
    "FromPrediction",
    "GuidanceAt",
    "IntervalExperts",
    "OtherNetwork",
    "PerSampleTime",
    "PipelineGuidance",
    "RowTimes",
    "Rule",
    "SkippedLayers",
    "SuperposedModel",
    "Weak",
    "WeakToStrong",
    "WeakToStrongConfig",
    "ZigzagConfig",
    "apply_per_sample_time",
    "apply_weak_to_strong",
    "apply_zigzag",
    "attach",
    "count_evaluations",
    "remove_weak_to_strong",
    "remove_zigzag",
    "timed_networks",
]
