"""What a search has cost: the sum over its records, and what belongs to no candidate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from .record import Record


@dataclass
class Ledger:
    """Costs so far; `pipelines.counting.Counts` says what counts as one.

    Attributes:
        nfe: function evaluations of the candidates on record.
        decodes: rows through an autoencoder.
        verifier_calls: images handed to a verifier.
        seconds: wall time.
        nfe_lost: evaluations of batches that ran out of memory and were made again, or were made again because their
            pictures were gone or a stopped run goes on from them; they are not among `nfe`, nor do they count against
            the budget.
    """

    nfe: int = 0
    decodes: int = 0
    verifier_calls: int = 0
    seconds: float = 0.0
    nfe_lost: int = 0

    def add(self, records: Iterable[Record]) -> None:
        """Add the counted costs of candidates on record."""
        for record in records:
            self.nfe += record.nfe
            self.decodes += record.decodes
            self.verifier_calls += record.verifier_calls

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def shares(total: int, count: int) -> list[int]:
    """A batch's cost in whole shares, as even as can be; the largest first."""
    return [-(-(total - k) // count) for k in range(count)]
