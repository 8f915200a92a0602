"""What the tabs of a page share: its models, the line to them, its visitors, and how errors are told."""

from __future__ import annotations

import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .library import import_library
from .limits import Limits
from .line import Line, Turn
from .models import Models
from .visitors import Visitors

logger = logging.getLogger(__name__)


@dataclass
class Studio:
    """One per page.

    Args:
        models: what the page offers.
        limits: of one visitor's request, and of the line.
    """

    models: Models = field(default_factory=Models)
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.line = Line(self.limits.in_line)
        self.visitors = Visitors()

    def run(self, session: str | None, tab: str, work: Callable[[Path, Turn], Any]) -> Iterator[Any]:
        """A visitor's run in a tab: yields its news, returns its result.

        Args:
            session: the browser's name for the visit.
            tab: where; one run at a time in each.
            work: is given a folder of its own and the visitor's turn.

        Raises:
            FullError, BusyError: where it cannot begin.
            Stopped: where it was cancelled.
            Exception: what the work raised.
        """
        visitor = self.visitors.visitor(str(session))

        def join(folder: Path) -> Turn:
            def ready(turn: Turn) -> Any:
                import_library()
                with overheard(turn.notes):
                    return work(folder, turn)

            return self.line.join(ready)

        return (yield from self.line.follow(visitor.begin(tab, join)))

    def cancel(self, session: str | None, tab: str) -> None:
        """Stop the run of a visitor in a tab."""
        self.visitors.visitor(str(session)).cancel(tab)

    def close(self) -> None:
        """Stop all work and remove all files."""
        self.line.close()
        self.visitors.close()


def told(error: Exception) -> str:
    """One sentence for the visitor; what is no plain refusal goes to the log with its trace."""
    lines = str(error).strip().splitlines()
    sentence = lines[0][:600] if lines else ""
    if isinstance(error, (ValueError, OSError)) and sentence:
        return without_server_paths(sentence)
    logger.error("a run of the page failed", exc_info=error)
    return without_server_paths(f"this run failed: {type(error).__name__}{': ' if sentence else ''}{sentence}")


def without_server_paths(sentence: str) -> str:
    """A sentence in which files lie under no folder of this server: the last part of a path says enough."""
    roots = {Path(tempfile.gettempdir()), Path.home(), Path.cwd(), Path(sys.prefix), Path(__file__).parents[2]}
    for root in sorted((str(one) for one in roots if one != Path("/")), key=len, reverse=True):
        sentence = re.sub(rf"{re.escape(root)}(/[^\s:'\",;]*)?", lambda match: Path(match[0]).name, sentence)
    return sentence


@contextmanager
def overheard(sentences: list[str]) -> Iterator[None]:
    """Collect what the library warns users of while the context is open; only the line's thread works then."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for one in caught:
        plain = issubclass(one.category, UserWarning) and not issubclass(one.category, DeprecationWarning)
        if plain and (text := str(one.message)) not in sentences:
            sentences.append(text)
