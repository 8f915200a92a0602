"""Several processes on one job, as torchrun or accelerate start them: who am I, and one folder of records for all.

Prompts are dealt out in turn. Each process keeps a part of the records beside the whole file; process 0 joins the parts
at the end, and deals out again what an earlier run left, whatever the number of its processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .records import RecordFile


@dataclass(frozen=True)
class Team:
    """The processes of a job.

    Attributes:
        rank: of this one, from 0.
        size: how many.
    """

    rank: int = 0
    size: int = 1

    def wait(self) -> None:
        """Until all are here."""
        if self.size > 1:
            torch.distributed.barrier()


def is_main_process() -> bool:
    """Whether this is the process that prints and saves: the only one, or number 0."""
    return int(os.environ.get("RANK", "0")) == 0


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


@contextmanager
def part_of_records(folder: str | Path, run: Mapping[str, Any], team: Team) -> Iterator[RecordFile]:
    """This process's share of a folder's records; joined when all are done.

    Args:
        folder, run: as for `RecordFile`.
        team: two processes or more.
    """
    whole = RecordFile(folder, run) if team.rank == 0 else None
    if whole is not None:
        _join(whole)
        _deal(whole, team)
    team.wait()
    with RecordFile(folder, run, part=f"{team.rank}-of-{team.size}") as part:
        yield part
    team.wait()
    if whole is not None:
        whole.records = []
        _join(whole)
        whole.close()
    team.wait()


def _join(whole: RecordFile) -> None:
    """Put the records of all parts into the whole file, in the order of one process, and remove the parts."""
    files = sorted(whole.folder.glob("records.*-of-*.jsonl"))
    if not files:
        return
    names = [file.name.removeprefix("records.").removesuffix(".jsonl") for file in files]
    parts = [RecordFile(whole.folder, {}, part=name) for name in names]
    found = {(one["prompt_index"], one["index"]): one for file in (whole, *parts) for one in file.records}
    seconds = whole.seconds + max(part.seconds for part in parts)
    whole.replace([found[key] for key in sorted(found)])
    whole.write_ledger({"seconds": seconds})  # the rest is counted again when the records are read
    for part in parts:
        part.remove()


def _deal(whole: RecordFile, team: Team) -> None:
    """Give each process the records of its prompts. The whole file goes last: a crash between loses nothing."""
    for rank in range(team.size):
        part = RecordFile(whole.folder, {}, part=f"{rank}-of-{team.size}")
        part.replace([record for record in whole.records if record["prompt_index"] % team.size == rank])
    whole.file.unlink(missing_ok=True)
