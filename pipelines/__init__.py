"""What runs a whole generation."""

from .calibration import Calibration
from .class_conditional import ClassConditionalPipeline
from .decode import decode
from .loading import load
from .noise_search import NoiseSearch
from .previews import Previews, record_previews
from .records import RecordsError
from .search_result import Candidate, SearchResult
from .search_run import BatchReport, BudgetError

__all__ = [
    "BatchReport",
    "BudgetError",
    "Calibration",
    "Candidate",
    "ClassConditionalPipeline",
    "NoiseSearch",
    "Previews",
    "RecordsError",
    "SearchResult",
    "decode",
    "load",
    "record_previews",
]
