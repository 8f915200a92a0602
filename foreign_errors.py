"""What libraries raise while something is loaded or read, as one sentence: the one place that knows their classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

LONGEST = 300
"""Characters of a library's reason that are kept."""


class LoadError(ValueError):
    """Something could not be loaded or read; the message names it and says why."""


@contextmanager
def in_one_sentence(what: str) -> Iterator[None]:
    """Let a block that loads or reads fail in one sentence, whatever a library raises.

    What this package raises itself already is a sentence, and passes.

    Args:
        what: is loaded, with its file or folder, and what went wrong: "the model m cannot be loaded".

    Raises:
        LoadError: for any other exception.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (ValueError, ConnectionError)) and _is_ours(error.__traceback__):
            raise
        raise LoadError(f"{what}: {reason_of(error)}") from error


def reason_of(error: BaseException) -> str:
    """The first sentence of an exception, with its class where that alone says what it is."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = re.split(r"(?<=[.!?]) ", lines[0])[0].rstrip(".") if lines else ""
    if isinstance(error, LookupError) or not text:
        text = f"{type(error).__name__} {text}".strip()
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _is_ours(traceback: TracebackType | None) -> bool:
    """Whether the line that raised is one of this package."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    name = "" if traceback is None else traceback.tb_frame.f_globals.get("__name__", "")
    return name.split(".")[0] == __name__.split(".")[0]
