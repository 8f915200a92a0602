"""A search that stops its candidates on the way: halving, whose rungs run as batches of an unmodified pipeline.

A prompt's bracket is the unit of a resumed run: it is on record whole, or it is run again. Its candidates go on from
where they stand (`PausedRows`), never from the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil
from typing import Any

from ...samplers.strategies import Halving, RungProposal
from ...verifiers import Verifier
from ..ledger import count_nfe
from ..paused_rows import PausedRows
from .calibration import Calibration
from .records import Record
from .result import Candidate
from .rung_budget import RungBudget
from .search_run import BudgetError, Made, SearchRun

Evaluate = Callable[[int, list[RungProposal]], list[Candidate] | None]


class BracketRun(SearchRun):
    """One bracket of halving a prompt; the guide scores every rung, the judge finished images only.

    A budget says how many candidates start and go on (`RungBudget`); the first that ever runs in a rung runs there
    alone, to count what one costs.
    """

    def __init__(self, *args: Any, calibration: Calibration | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.calibration = calibration
        self.rows = PausedRows(self.call)
        self.spent_before = 0  # NFEs of the prompt's rungs before the one under way

    def _search(self) -> None:
        length = self.rows.run_length(self.prompts[self.indices[0]])
        self.halving: Halving = self.strategy
        if self.calibration is not None:
            self.halving = self.halving.informed(early_correlations(self.calibration, length.asked))
        self.steps = length.steps
        calls = [length.calls_between(*rung) for rung in pairwise([0, *self.halving.ends(self.steps)])]
        self.bought = RungBudget(self.halving, calls, self.budget)
        for i in self.indices:
            if not self._recall_bracket(i):
                self._run_bracket(i)
            if self.stopped:
                return

    def _recall_bracket(self, i: int) -> bool:
        """Take a prompt's bracket from the records; where it is not whole, they are cut back to its begin."""
        begin, costs, known = self.cursor, dict(self.bought.costs), []

        def recall(i: int, batch: list[RungProposal]) -> list[Candidate] | None:
            new = self._recall(i, batch)
            if len(new) < len(batch):
                return None
            self.cursor += len(batch)
            known.append((batch, new))
            return new

        if not self._bracket(i, recall):
            self._forget(begin)
            self.cursor, self.bought.costs = begin, costs
            return False
        self.pools[i] = []
        for batch, new in known:
            self._add(i, batch, new)
        return True

    def _run_bracket(self, i: int) -> None:
        def evaluate(i: int, batch: list[RungProposal]) -> list[Candidate]:
            new = self._evaluate(i, batch)
            self._add(i, batch, new)
            return new

        self.pools[i] = []
        self.rows.clear()
        self._bracket(i, evaluate)

    def _bracket(self, i: int, evaluate: Evaluate) -> bool:
        """Go through a prompt's rungs; False where `evaluate` has nothing for a batch."""
        costs, rung, spent, self.spent_before = self.bought.costs, 0, 0, 0
        count = self._starters() if costs or self.budget is None else 1
        race = self.halving.start(self._first_seed(i), count, self.steps)
        while not (race.done or self.stopped):
            if race.rung > rung:
                rung, self.spent_before = race.rung, spent
            counted = rung in costs
            if counted and self.budget is not None:
                race.limit(self._entrants(rung))
            batch = race.propose(self.batch_size if counted or self.budget is None else 1)
            new = evaluate(i, batch)
            if new is None:
                return False
            spent += sum(candidate.record["nfe"] for candidate in new)
            if not counted:
                costs[rung] = new[0].record["nfe"]
                if rung == 0:
                    race.extend(self._starters() - count)
            race.observe(batch, [candidate.score for candidate in new])
        return True

    def _starters(self) -> int:
        return self.num_candidates if self.num_candidates is not None else self.bought.entrants(0, 0)

    def _entrants(self, rung: int) -> int:
        if entrants := self.bought.entrants(rung, self.spent_before):
            return entrants
        raise BudgetError(self.budget, self.bought.least())

    def _check_cost(self, candidate: RungProposal, cost: int) -> None:
        if self.budget is not None and candidate.rung not in self.bought.costs:
            self.bought.costs[candidate.rung] = cost
            self._entrants(candidate.rung)

    def _make(self, prompt: str | int, batch: Sequence[RungProposal]) -> Made:
        one = batch[0]
        stop = None if self._finishes(one) else one.stop
        return Made(*self.rows.advance(prompt, [proposal.seed for proposal in batch], one.start, stop))

    def _make_again(self, prompt: str | int, batch: Sequence[RungProposal]) -> Made | None:
        """Finished candidates run from the noise on; what stands on the way needs its whole bracket."""
        if not self._finishes(batch[0]):
            return None
        with count_nfe(self.call.pipe) as counted:
            images, usable = self.call(prompt, [proposal.seed for proposal in batch])
        return Made(images, usable, nfe=counted.nfe)

    def _finishes(self, candidate: RungProposal) -> bool:
        return candidate.stop == self.steps

    def _judge_of(self, candidate: RungProposal) -> Verifier | None:
        return self.judge if self._finishes(candidate) else None

    def _progress(self, candidate: RungProposal) -> Record:
        return {"rung": candidate.rung, "steps_done": candidate.stop, "steps": self.steps}

    def _expected(self) -> int | None:
        if not self.bought.costs:
            return None
        return self.halving.price(self._starters(), self.bought.prices(0)) * len(self.indices)


def early_correlations(calibration: Calibration, num_inference_steps: int) -> dict[int, float]:
    """Rank correlation of previews with finished images, by the steps made in a run of so many.

    Where runs of another length were calibrated, the nearest is read by the share of the run.

    Raises:
        ValueError: for a calibration without previews.
    """
    lengths = {row.num_inference_steps for row in calibration.previews}
    if not lengths:
        raise ValueError(
            "the calibration has no previews, by which halving sets its first rung; calibrate anew, or leave it out"
        )
    nearest = min(lengths, key=lambda length: (abs(length - num_inference_steps), length))
    found = calibration.correlations(nearest)
    return {ceil(step * num_inference_steps / nearest): value for step, value in sorted(found.items())}
