"""What one step, or one round of a search, does."""

from . import interpolants, predictions, strategies

__all__ = ["interpolants", "predictions", "strategies"]
