"""The records of a run in their making: recalled by key, written as they come, and mended.

A record is found by its node, wherever it stands in the file. What failed in an earlier run is tried again, and a
picture that is gone is made again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from ...samplers.strategies import Node
from ..clip import Clip, as_picture
from .evaluator import Made
from .ledger import Ledger
from .record import Record
from .records import RecordFile, RecordsError
from .scorer import Scorer

Pictures = Sequence[Image.Image | Clip]
MakeAgain = Callable[[Sequence[Node]], Made]
"""Makes a whole batch that is on record."""


class Recorder:
    """Keeps nothing: of a run without an output folder.

    Attributes:
        seconds: wall time of earlier runs.
    """

    seconds = 0.0

    def file_name(self, prompt_index: int, index: int) -> str | None:
        """What the picture of a prompt's node is called within the folder; None where it is not kept."""
        return None

    def recall(self, prompt_index: int, batch: Sequence[Node], make_again: MakeAgain) -> list[Record]:
        """The records of a batch that are kept from before; none where it is to be evaluated."""
        return []

    def write(self, records: Sequence[Record], pictures: Pictures) -> None:
        """Keep a batch."""

    def source(self, record: Record, picture: Image.Image | Clip | None) -> Image.Image | Clip | Path | None:
        """The picture of a record, or its file where it is kept."""
        return picture

    def write_ledger(self, ledger: Ledger) -> None:
        """Keep the cost so far."""

    def finish(self) -> None:
        """Bring the records into the order of one undisturbed run."""


class FileRecorder(Recorder):
    """Keeps the records of one run in an output folder.

    Args:
        file: of the folder.
        scorer: scores again what lacks a score.
    """

    def __init__(self, file: RecordFile, scorer: Scorer):
        self.file, self.scorer, self.seconds = file, scorer, file.seconds
        self._waiting: dict[int, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
        self._changed: set[int] = set()
        own = {(record.prompt_index, record.index): record for record in (*file.before, *file.records)}
        for _, record in sorted(own.items(), key=lambda pair: pair[0]):
            self._waiting[record.prompt_index][record.node.id].append(record)

    def file_name(self, prompt_index: int, index: int) -> str:
        return f"images/{prompt_index:04d}_{index:05d}.png"

    def recall(self, prompt_index: int, batch: Sequence[Node], make_again: MakeAgain) -> list[Record]:
        """The records of a batch; none where it is to be evaluated: always as a whole, so that batches stay the same.

        Args:
            prompt_index: number of the prompt.
            batch: nodes of the prompt.
            make_again: called where pictures are gone, or where a verifier needs more than the picture.

        Raises:
            RecordsError: for records of nodes that this search does not evaluate.
        """
        waiting = self._waiting[prompt_index]
        left = {key: len(records) for key, records in waiting.items() if records}
        wanted: dict[str, int] = defaultdict(int)
        for node in batch:
            wanted[node.id] += 1
        if all(left.get(key, 0) >= count for key, count in wanted.items()):
            known = [waiting[node.id].pop(0) for node in batch]
            return self._mended(batch, known, make_again)
        if left:
            if prompt_index not in self._changed and not set(left) <= set(wanted):
                first = next(record for records in waiting.values() for record in records)
                raise RecordsError(
                    f"{self.file.file} has seed {first.seed} of prompt {prompt_index}, node {first.node.id}, where "
                    f"this search has seed {batch[0].seed}, node {batch[0].id}; name another output folder"
                )
            # Part of a batch that a crash left, or what followed from a score that was missing then.
            dropped = [id(record) for records in waiting.values() for record in records]
            self.file.replace([record for record in self.file.records if id(record) not in dropped])
            waiting.clear()
        return []

    def write(self, records: Sequence[Record], pictures: Pictures) -> None:
        """Keep a batch: its pictures, then its records in one write that reaches the disk."""
        for record, picture in zip(records, pictures, strict=True):
            self.file.save_image(record, picture)
        self.file.append(records)

    def source(self, record: Record, picture: Image.Image | Clip | None) -> Path:
        return self.file.picture(record)

    def write_ledger(self, ledger: Ledger) -> None:
        self.file.write_ledger(ledger.as_dict())

    def finish(self) -> None:
        self.file.sort()

    def _mended(self, batch: Sequence[Node], known: list[Record], make_again: MakeAgain) -> list[Record]:
        """The records of a whole batch with what could be mended."""
        recovers = [k for k, record in enumerate(known) if record.may_recover]
        absent = [
            k
            for k, record in enumerate(known)
            if (record.may_recover or record.status == "finished") and not self.file.has_image(record)
        ]
        made = None
        if absent or (recovers and any(one.needs_previews for one in self.scorer.verifiers)):
            made = make_again(batch)
            for k in absent:
                self.file.save_image(known[k], as_picture(made.images[k]))
        changed: dict[int, Record] = {}
        try:
            for k in recovers:
                worth = self.scorer.score_again(known[k], made, k, self.file.folder)
                record = known[k].scored(worth.scored[0], self.scorer.guide.name, worth.verifier_calls)
                changed[id(known[k])], known[k] = record, record
        finally:  # what one verifier gave is kept where another is down
            if changed:
                self._put(changed)
        return known

    def _put(self, changed: dict[int, Record]) -> None:
        """Put records in place of those on file, which are given by their identity, in one write."""
        self._changed |= {record.prompt_index for record in changed.values()}
        own = [changed.pop(id(record), record) for record in self.file.records]
        if own != self.file.records:
            self.file.replace(own)
        if changed:  # of the whole file, which a shard does not write to
            self.file.append(list(changed.values()))
