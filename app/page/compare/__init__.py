"""The tab that compares strategies at one budget."""

from .tab import CompareTab

__all__ = ["CompareTab"]
