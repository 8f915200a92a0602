"""What is measured."""

from .fid import Comparison, FeatureStatistics, compare, fid
from .saved_statistics import SavedStatistics, load_statistics

__all__ = ["Comparison", "FeatureStatistics", "SavedStatistics", "compare", "fid", "load_statistics"]
