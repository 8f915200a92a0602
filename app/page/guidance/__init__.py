"""The tab that compares ways of guidance."""

from .tab import GuidanceTab

__all__ = ["GuidanceTab"]
