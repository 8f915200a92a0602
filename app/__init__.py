"""What a person touches."""

from typing import Any

__all__ = ["launch"]


def __getattr__(name: str) -> Any:
    """`launch` opens the page; gradio is imported only then."""
    if name == "launch":
        from .page.shell import launch

        return launch
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
