"""What runs a whole generation."""

from .class_conditional import ClassConditionalPipeline
from .loading import load
from .noise_search import BatchReport, BudgetError, NoiseSearch
from .records import RecordsError
from .search_result import Candidate, SearchResult

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
