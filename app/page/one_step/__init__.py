"""The tab that draws in few steps."""

from .tab import OneStepTab

__all__ = ["OneStepTab"]
