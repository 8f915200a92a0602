"""The records of a search on disk: JSON lines, appended a batch at a time, whole or absent; and what was asked for."""

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
from .run_description import differences

Record = dict[str, Any]

REQUIRED = ("prompt", "prompt_index", "index", "seed", "nfe", "verifier_calls", "status", "score", "scores", "file")

_PNG_END = b"IEND\xaeB`\x82"


class RecordsError(ValueError):
    """The output folder cannot be used: not writable, corrupt, or of another search."""


class RecordFile:
    """`records.jsonl`, `run.json` and `ledger.json` of one output folder, which is locked until `close`.

    Args:
        folder: made where it is missing.
        run: what was asked for, JSON values; a folder that holds another run is refused. `versions` are not compared.
        part: names the share of one process of several; the folder is then another `RecordFile`'s, locked by it.
        reads_only: nothing is written and nothing locked.

    Raises:
        RecordsError: with one sentence.
    """

    def __init__(self, folder: str | Path, run: Mapping[str, Any], part: str = "", reads_only: bool = False):
        self.folder, self.reads_only = Path(folder), reads_only
        self._ledger = self.folder / (f"ledger.{part}.json" if part else "ledger.json")
        self._lock: FileLock | None = None
        self.file = self.folder / (f"records.{part}.jsonl" if part else "records.jsonl")
        if not part and not reads_only:
            self._claim()
        try:
            self.records: list[Record] = self._read() if self.file.exists() else []
            if not part:
                self._agree(json.loads(to_json(run)))
        except RecordsError:
            self.close()
            raise

    def _claim(self) -> None:
        try:
            (self.folder / "images").mkdir(parents=True, exist_ok=True)
            probe = self.folder / ".writable"
            probe.touch()
            probe.unlink()
        except OSError as error:
            reason = error.strerror
            raise RecordsError(f"cannot write to the output folder {self.folder}: {reason}; name another") from error
        self._lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            self._lock = None
            raise RecordsError(
                f"another search is writing to {self.folder}; wait for its end or name another output folder"
            ) from None

    def close(self) -> None:
        """Let others write to the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def remove(self) -> None:
        """Delete a part that was joined."""
        self.file.unlink(missing_ok=True)
        self._ledger.unlink(missing_ok=True)

    def __enter__(self) -> RecordFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _agree(self, run: dict[str, Any]) -> None:
        file = self.folder / "run.json"
        if not self.records and not self.reads_only:  # nothing was kept of an earlier run, if there was one
            write_atomically(file, to_json(run, indent=2) + "\n")
            return
        try:
            before = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise RecordsError(
                f"{file} is missing or corrupt beside its records; name another output folder"
            ) from error
        if changes := differences(*({**one, "versions": None} for one in (before, run))):
            raise RecordsError(
                f"{self.folder} holds another run ({_short('; '.join(changes))}); name another output folder"
            )

    def _read(self) -> list[Record]:
        """Read what is whole; the torn tail that a crash may leave is cut off."""
        data = self.file.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        records = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict) or any(key not in record for key in REQUIRED):
                raise RecordsError(
                    f"line {number} of {self.file} is no record; remove the file or name another output folder"
                )
            records.append(record)
        if len(whole) < len(data):
            os.truncate(self.file, len(whole))
        return records

    def keep(self, count: int) -> None:
        """Cut back to the first `count` records: the part of a batch that a crash left is evaluated again."""
        if count < len(self.records):
            self.replace(self.records[:count])

    def replace(self, records: Sequence[Record]) -> None:
        """Put these records in place of all."""
        self.records = list(records)
        write_atomically(self.file, "".join(map(_line, records)))

    def write_ledger(self, ledger: Mapping[str, Any]) -> None:
        """The cost so far; times are kept apart from the records, which compare equal."""
        if not self.reads_only:
            write_atomically(self._ledger, to_json(ledger, indent=2) + "\n")

    @property
    def seconds(self) -> float:
        """Wall time of earlier runs in the folder."""
        try:
            return float(json.loads(self._ledger.read_text())["seconds"]) if self.records else 0.0
        except (OSError, ValueError, TypeError, KeyError):
            return 0.0

    def append(self, batch: Sequence[Record]) -> None:
        """Append a batch in one write that has reached the disk when this returns."""
        descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, "".join(map(_line, batch)).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.records += batch

    def has_image(self, record: Record) -> bool:
        """Whether the picture of a record is there, and whole as far as its end tells."""
        try:
            with (self.folder / record["file"]).open("rb") as opened:
                opened.seek(-len(_PNG_END), os.SEEK_END)
                return opened.read() == _PNG_END
        except OSError:  # also of a file that is shorter
            return False

    def save_image(self, record: Record, image: Image.Image | Clip) -> None:
        """Write the picture or clip of a record that names a `file`."""
        target = self.folder / record["file"]
        part = target.with_suffix(".part")
        image.save(part, format="PNG")
        os.replace(part, target)


def load_picture(file: Path) -> Image.Image | Clip:
    """Read a picture of a record, or a clip where its file holds several frames.

    Raises:
        RecordsError: where it is missing or corrupt.
    """
    try:
        return read_picture_or_clip(file)
    except Exception as error:  # a damaged file raises errors of many kinds
        raise RecordsError(f"the picture {file} is missing or corrupt; replace or remove it") from error


def _line(record: Record) -> str:
    return to_json(record) + "\n"


def _short(text: str, length: int = 400) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def write_atomically(file: Path, text: str) -> None:
    """Write a file that is whole at any moment: the old text or the new."""
    part = file.with_suffix(file.suffix + ".part")
    part.write_text(text)
    os.replace(part, file)
