"""The records of a search on disk: JSON lines, appended batch by batch, whole or absent; and the run's description."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image

from ...valid_json import to_json
from ..clip import Clip, read_picture_or_clip
from .record import Record
from .run_description import differences
from .shards import Shard, busy_shards, held

_PNG_END = b"IEND\xaeB`\x82"


class RecordsError(ValueError):
    """The output folder cannot be used: not writable, corrupt, or of another search."""


class RecordFile:
    """`records.jsonl`, `run.json` and `ledger.json` of one output folder, which is locked until `close`.

    Args:
        folder: made where it is missing.
        run: its description, JSON values; a folder that holds another run is refused. `versions` and `job` are for
            readers, and not compared.
        shard: of several processes that share the folder, this one; records are then in a file of its own, beside what
            the whole file holds, until they are merged (`shards`).

    Raises:
        RecordsError: with one sentence.
    """

    def __init__(self, folder: str | Path, run: Mapping[str, Any], shard: Shard | None = None):
        self.folder, self.shard = Path(folder), shard
        name = "" if shard is None else f".{shard.name}"
        self.file, self._ledger = self.folder / f"records{name}.jsonl", self.folder / f"ledger{name}.json"
        check_writable(self.folder)
        self._lock = lock(self.folder, f".lock{name}")
        try:
            if shard is None and (others := busy_shards(self.folder)):
                raise RecordsError(
                    f"another search is writing to {self.folder} ({', '.join(others)}); wait for its end or name "
                    "another output folder"
                )
            self.records: list[Record] = read_records(self.file)
            self.before: list[Record] = []
            """Of the whole file, where this one is a shard's."""
            with held(self.folder):
                if shard is not None:
                    whole = read_records(self.folder / "records.jsonl")
                    self.before = [record for record in whole if shard.owns(record.prompt_index)]
                self._agree(json.loads(to_json(run)))
        except RecordsError:
            self.close()
            raise

    def close(self) -> None:
        """Let others write to the folder."""
        self._lock.release()

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _agree(self, run: dict[str, Any]) -> None:
        file = self.folder / "run.json"
        kept = any(one.stat().st_size for one in self.folder.glob("records*.jsonl"))
        if not kept and not busy_shards(self.folder, but=self.shard):  # of an earlier run, if there was one, nothing
            write_atomically(file, to_json(run, indent=2) + "\n")
            return
        try:
            before = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise RecordsError(
                f"{file} is missing or corrupt beside its records; name another output folder"
            ) from error
        unread = {"versions": None, "job": None}
        if changes := differences({**before, **unread}, {**run, **unread}):
            raise RecordsError(
                f"{self.folder} holds another run ({_short('; '.join(changes))}); name another output folder"
            )

    def replace(self, records: Sequence[Record]) -> None:
        """Put these records in place of all."""
        self.records = list(records)
        write_records(self.file, self.records)

    def sort(self) -> None:
        """Bring the records into the order of prompts and of their nodes, where they stand in another."""
        ordered = sorted(self.records, key=lambda one: (one.prompt_index, one.index))
        if ordered != self.records:
            self.replace(ordered)

    def write_ledger(self, ledger: Mapping[str, Any]) -> None:
        """The cost so far; times are kept apart from the records, which compare equal."""
        write_atomically(self._ledger, to_json(ledger, indent=2) + "\n")

    @property
    def seconds(self) -> float:
        """Wall time of earlier runs in the folder."""
        return seconds_of(self._ledger) if self.records else 0.0

    def append(self, batch: Sequence[Record]) -> None:
        """Append a batch in one write that has reached the disk when this returns."""
        descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, "".join(map(_line, batch)).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.records += batch

    def picture(self, record: Record) -> Path:
        """File of the picture of a record."""
        return picture_file(self.folder, record)

    def has_image(self, record: Record) -> bool:
        """Whether the picture of a record is there, and whole as far as its end tells."""
        try:
            with self.picture(record).open("rb") as opened:
                opened.seek(-len(_PNG_END), os.SEEK_END)
                return opened.read() == _PNG_END
        except OSError:  # also of a file that is shorter
            return False

    def save_image(self, record: Record, image: Image.Image | Clip) -> None:
        """Write the picture or clip of a record that names a `file`."""
        target = self.picture(record)
        part = target.with_suffix(".part")
        image.save(part, format="PNG")
        os.replace(part, target)


def check_writable(folder: Path) -> None:
    """Make an output folder.

    Raises:
        RecordsError: where it cannot be written to.
    """
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror
        raise RecordsError(f"cannot write to the output folder {folder}: {reason}; name another") from error


def lock(folder: Path, name: str) -> FileLock:
    """Claim a file of a folder.

    Raises:
        RecordsError: where another process has it.
    """
    claim = FileLock(folder / name, timeout=0)
    try:
        claim.acquire()
    except Timeout:
        raise RecordsError(
            f"another search is writing to {folder}; wait for its end or name another output folder"
        ) from None
    return claim


def read_records(file: Path) -> list[Record]:
    """Read what is whole; the torn tail that a crash may leave is cut off.

    Raises:
        RecordsError: for a line that is no record.
    """
    if not file.exists():
        return []
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    records = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            records.append(Record.from_json(json.loads(line)))
        except ValueError:
            raise RecordsError(
                f"line {number} of {file} is no record; remove the file or name another output folder"
            ) from None
    if len(whole) < len(data):
        os.truncate(file, len(whole))
    return records


def write_records(file: Path, records: Sequence[Record]) -> None:
    """Put records in place of a file's."""
    write_atomically(file, "".join(map(_line, records)))


def picture_file(folder: Path, record: Record) -> Path:
    """File of the picture of a record on disk.

    Raises:
        RecordsError: for a record that names none, as those of a search without an output folder.
    """
    if record.file is None:
        raise RecordsError(f"the record of node {record.node.id} names no picture; name another folder than {folder}")
    return folder / record.file


def load_picture(file: Path) -> Image.Image | Clip:
    """Read a picture of a record, or a clip where its file holds several frames.

    Raises:
        RecordsError: where it is missing or corrupt.
    """
    try:
        return read_picture_or_clip(file)
    except Exception as error:  # a damaged file raises errors of many kinds
        raise RecordsError(f"the picture {file} is missing or corrupt; replace or remove it") from error


def seconds_of(ledger: Path) -> float:
    """Wall time that a ledger's file says; 0 where there is none to read."""
    try:
        return float(json.loads(ledger.read_text())["seconds"])
    except (OSError, ValueError, TypeError, KeyError):
        return 0.0


def _line(record: Record) -> str:
    return to_json(record.to_json()) + "\n"


def _short(text: str, length: int = 400) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def write_atomically(file: Path, text: str) -> None:
    """Write a file that is whole at any moment: the old text or the new."""
    part = file.with_suffix(file.suffix + ".part")
    part.write_text(text)
    os.replace(part, file)
