"""Records of several processes made one file, as one process would have left it."""

from __future__ import annotations

import json
from pathlib import Path

from ...valid_json import to_json
from .ledger import Ledger
from .record import Record
from .records import read_records, seconds_of, write_atomically, write_records
from .shards import Shard, busy_shards, held


def merge_leftovers(folder: Path, shard: Shard | None) -> None:
    """Merge what an earlier run left that had another number of processes, or was killed before it was merged.

    Args:
        folder: of the records.
        shard: of this process, whose team's files are left alone; None for a process that is alone.
    """
    with held(folder):
        own = [] if shard is None else [one.name for one in shard.team()]
        files = folder.glob("records.*-of-*.jsonl")
        names = [file.name.removeprefix("records.").removesuffix(".jsonl") for file in files]
        busy = busy_shards(folder)
        _merge(folder, sorted(name for name in names if name not in own and name not in busy))
        if shard is not None:
            (folder / shard.mark).unlink(missing_ok=True)


def merge_when_last(folder: Path, shard: Shard) -> bool:
    """Say that a share is done; merge all where it was the last. Returns whether it was."""
    with held(folder):
        (folder / shard.mark).touch()
        team = shard.team()
        if not all((folder / one.mark).exists() for one in team):
            return False
        _merge(folder, [one.name for one in team])
        for one in team:
            (folder / one.mark).unlink()
        return True


def _merge(folder: Path, names: list[str]) -> None:
    """Put the records of these shares into the whole file, in the order of one process, and remove their files."""
    if not names:
        return
    whole = folder / "records.jsonl"
    by_place: dict[tuple[int, int], Record] = {}
    for file in (whole, *(folder / f"records.{name}.jsonl" for name in names)):
        by_place |= {(one.prompt_index, one.index): one for one in read_records(file)}
    records = [by_place[key] for key in sorted(by_place)]
    ledgers = [folder / f"ledger.{name}.json" for name in names]
    total = Ledger(seconds=seconds_of(folder / "ledger.json") + max(map(seconds_of, ledgers)))
    total.nfe_lost = sum(map(_lost, (folder / "ledger.json", *ledgers)))
    total.add(records)
    write_records(whole, records)
    write_atomically(folder / "ledger.json", to_json(total.as_dict(), indent=2) + "\n")
    for name in names:
        (folder / f"records.{name}.jsonl").unlink(missing_ok=True)
        (folder / f"ledger.{name}.json").unlink(missing_ok=True)


def _lost(ledger: Path) -> int:
    try:
        return int(json.loads(ledger.read_text())["nfe_lost"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0
