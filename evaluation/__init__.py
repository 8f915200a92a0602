"""What is measured."""

from .fid import Comparison, compare, fid
from .frechet import FeatureStatistics
from .saved_statistics import SavedStatistics, load_statistics

__all__ = ["Comparison", "FeatureStatistics", "SavedStatistics", "compare", "fid", "load_statistics"]
