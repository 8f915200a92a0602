"""The tab that searches."""

from .tab import SearchTab

__all__ = ["SearchTab"]
