"""What the search tab shows of an evaluated node, as plain values."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..judged import Sight

if TYPE_CHECKING:
    from ....pipelines.search.record import Record


@dataclass(frozen=True)
class Tried:
    """A candidate as it stood when it was scored.

    Attributes:
        noise: names its initial noise; halving scores one in each rung that it runs in.
        seed: of that noise.
        turned: whether the noise was moved away from the seed's own.
        file: its picture, within the folder of the run.
        score: by the verifier; None where it failed, or where only whole pools are ranked.
        finished: whether its run was made to the end.
        steps_done, steps: how far; None where the search does not pause runs.
        nfe_so_far: of the run, up to and with it.
        reason: why it failed; None where it did not.
        sight: the judge's; None where it was not asked.
    """

    noise: str
    seed: int
    turned: bool
    file: str | None
    score: float | None
    finished: bool
    steps_done: int | None
    steps: int | None
    nfe_so_far: int
    reason: str | None = None
    sight: Sight | None = None

    @classmethod
    def of(cls, record: Record, judge: str | None = None) -> Tried:
        """From a record.

        Args:
            record: of the search.
            judge: name of its score; one that is 0 or 1 is a cross or a tick.
        """
        turns = record.node.turns
        judged = None if judge is None else record.scores.get(judge)
        return cls(
            f"{record.seed}{''.join(f', {turn.towards} by {turn.angle:g}' for turn in turns)}",
            record.seed,
            bool(turns),
            record.file,
            None if record.failed else record.score,
            record.node.finished,
            record.steps_done,
            record.steps,
            record.nfe_so_far,
            (record.reason or "failed") if record.failed else None,
            None if judged is None or judge is None else Sight.scored(judge, judged),
        )

    def seen(self, sight: Sight) -> Tried:
        """The same with what the judge sees."""
        return replace(self, sight=sight)

    @property
    def value(self) -> float:
        """The score to compare by: -inf without one."""
        return -math.inf if self.score is None or math.isnan(self.score) else self.score

    @property
    def standing(self) -> tuple[bool, int, float]:
        """How far it has come, then its score."""
        return self.finished, self.steps_done or 0, self.value
