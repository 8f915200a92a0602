"""What runs a whole generation."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .class_conditional import ClassConditionalPipeline
    from .decode import decode
    from .loading import load
    from .previews import Previews, record_previews
    from .search.calibration import Calibration
    from .search.job import SearchJob
    from .search.noise_search import NoiseSearch
    from .search.records import RecordsError
    from .search.result import Candidate, SearchResult
    from .search.search_run import BatchReport, BudgetError

__all__ = [
    "BatchReport",
    "BudgetError",
    "Calibration",
    "Candidate",
    "ClassConditionalPipeline",
    "NoiseSearch",
    "Previews",
    "RecordsError",
    "SearchJob",
    "SearchResult",
    "decode",
    "load",
    "record_previews",
]

_NAMES = {
    "BatchReport": ".search.search_run",
    "BudgetError": ".search.search_run",
    "Calibration": ".search.calibration",
    "Candidate": ".search.result",
    "ClassConditionalPipeline": ".class_conditional",
    "NoiseSearch": ".search.noise_search",
    "Previews": ".previews",
    "RecordsError": ".search.records",
    "SearchJob": ".search.job",
    "SearchResult": ".search.result",
    "decode": ".decode",
    "load": ".loading",
    "record_previews": ".previews",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: what a job asks for is checked before torch is imported."""
    if name in _NAMES:
        return getattr(import_module(_NAMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
