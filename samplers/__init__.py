"""What one step, or one round of a search, does."""

from . import strategies

__all__ = ["strategies"]
