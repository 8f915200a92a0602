"""What a strategy may need of a pipeline and of a verifier; `pipelines/search/needs.py` knows how each is checked."""

from __future__ import annotations

from enum import Enum


class Need(Enum):
    """A need of a strategy."""

    MOVED_NOISE = "noises that are turned towards others (`Turn`)"
    PAUSES = "runs that stop at a step, are looked at there, and go on"
    RUNNING_SCORES = "a score for each candidate as it comes"
    STOCHASTIC_STEPS = "steps that draw noise (`Noise`)"
