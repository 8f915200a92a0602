"""The tab that shifts times."""

from .tab import TimeShiftTab

__all__ = ["TimeShiftTab"]
