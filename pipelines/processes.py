"""Several processes on one job, as torchrun or accelerate start them: who am I, and a group of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Team:
    """The processes of a job.

    Attributes:
        rank: of this one, from 0.
        size: how many.
    """

    rank: int = 0
    size: int = 1


def started() -> Team:
    """This process among those that were started, by the launcher's environment; no group of them is made."""
    return Team(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


@contextmanager
def processes() -> Iterator[Team]:
    """The processes that were started; a group is made for the while where there is none."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield Team()
        return
    from accelerate import PartialState

    made = not torch.distributed.is_initialized()
    state = PartialState(cpu=not torch.cuda.is_available())
    try:
        yield Team(state.process_index, state.num_processes)
    finally:
        if made:
            state.destroy_process_group()
