"""The tab that superposes prompts."""

from .tab import SuperposeTab

__all__ = ["SuperposeTab"]
