"""What runs a whole generation."""

from .class_conditional import ClassConditionalPipeline
from .decode import decode
from .loading import load
from .previews import Previews, record_previews
from .search.calibration import Calibration
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
    "SearchResult",
    "decode",
    "load",
    "record_previews",
]
