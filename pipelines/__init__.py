"""What runs a whole generation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..samplers.strategies import BudgetError
    from .class_conditional import ClassConditionalPipeline
    from .decoding import decode
    from .loading import load
    from .multi_student import MultiStudentPipeline
    from .previews import Previews, record_previews
    from .search.calibration import Calibration
    from .search.engine import BatchReport
    from .search.job import SearchJob
    from .search.look import Look
    from .search.noise_search import NoiseSearch
    from .search.records import RecordsError
    from .search.result import Candidate, SearchResult
    from .search.steer_job import SteerJob
    from .search.steering import steer
    from .superposition.job import SuperposeJob
    from .superposition.outcome import SuperposeOutcome
    from .superposition.result import SuperpositionResult
    from .superposition.superpose import superpose

__all__ = [
    "BatchReport",
    "BudgetError",
    "Calibration",
    "Candidate",
    "ClassConditionalPipeline",
    "Look",
    "MultiStudentPipeline",
    "NoiseSearch",
    "Previews",
    "RecordsError",
    "SearchJob",
    "SearchResult",
    "SteerJob",
    "SuperposeJob",
    "SuperposeOutcome",
    "SuperpositionResult",
    "decode",
    "load",
    "record_previews",
    "steer",
    "superpose",
]

_NAMES = {
    "BatchReport": ".search.engine",
    "BudgetError": "..samplers.strategies",
    "Calibration": ".search.calibration",
    "Candidate": ".search.result",
    "ClassConditionalPipeline": ".class_conditional",
    "Look": ".search.look",
    "MultiStudentPipeline": ".multi_student",
    "NoiseSearch": ".search.noise_search",
    "Previews": ".previews",
    "RecordsError": ".search.records",
    "SearchJob": ".search.job",
    "SearchResult": ".search.result",
    "SteerJob": ".search.steer_job",
    "SuperposeJob": ".superposition.job",
    "SuperposeOutcome": ".superposition.outcome",
    "SuperpositionResult": ".superposition.result",
    "decode": ".decoding",
    "load": ".loading",
    "record_previews": ".previews",
    "steer": ".search.steering",
    "superpose": ".superposition.superpose",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: what a job asks for is checked before torch is imported."""
    if name in _NAMES:
        return getattr(import_module(_NAMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
