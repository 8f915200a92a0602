"""What is measured."""

from .fid import Comparison, FeatureStatistics, compare, fid

__all__ = ["Comparison", "FeatureStatistics", "compare", "fid"]
