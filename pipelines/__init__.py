"""What runs a whole generation."""

from .class_conditional import ClassConditionalPipeline
from .loading import load
from .noise_search import NoiseSearch
from .records import RecordsError
from .search_result import Candidate, SearchResult
from .search_run import BatchReport, BudgetError

__all__ = [
    "BatchReport",
    "BudgetError",
    "Candidate",
    "ClassConditionalPipeline",
    "NoiseSearch",
    "RecordsError",
    "SearchResult",
    "load",
]
