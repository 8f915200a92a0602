"""The tab that steers."""

from .tab import SteeringTab

__all__ = ["SteeringTab"]
