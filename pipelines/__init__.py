"""What runs a whole generation."""

from .loading import load
from .noise_search import BatchReport, BudgetError, NoiseSearch
from .records import RecordsError
from .search_result import Candidate, SearchResult

__all__ = ["BatchReport", "BudgetError", "Candidate", "NoiseSearch", "RecordsError", "SearchResult", "load"]
