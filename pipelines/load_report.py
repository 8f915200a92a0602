"""What diffusers and transformers only log while they load: weights that a file lacks are drawn at random."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

_LIBRARIES = ("diffusers", "transformers")
_DIFFUSERS = re.compile(r"weights of (\w+) were not initialized from the model checkpoint at (\S+) and are newly init")
_TRANSFORMERS = re.compile(r"(\w+) LOAD REPORT\W.*?from: (\S+)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class _Reports(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lacking: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = _COLOURS.sub("", record.getMessage())
        match = _DIFFUSERS.search(text) or (_TRANSFORMERS.search(text) if "| MISSING" in text else None)
        if match:
            self.lacking.append(f"the weights in {match[2]} are not those of its {match[1]}")


@contextmanager
def whole_weights() -> Iterator[None]:
    """Refuse models whose files lack weights, which would be random.

    Raises:
        ValueError: at the end of the block, with the folder and the class of the first.
    """
    reports = _Reports()
    loggers = [logging.getLogger(name) for name in _LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(reports)
        logger.setLevel(min(logger.getEffectiveLevel(), logging.WARNING))
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(reports)
            logger.setLevel(level)
    if reports.lacking:
        raise ValueError(f"{reports.lacking[0]}: some are missing, and would be random; fetch the model anew")
