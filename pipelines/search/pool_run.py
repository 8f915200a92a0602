"""A search that finishes each of its candidates: random, zero-order, and a user's own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any

from ...samplers.strategies import Proposal, Strategy
from ...verifiers import Verifier
from ..decode import Decoder
from ..moved_noise import check_moves_noise
from ..previews import record_previews
from .records import Record
from .result import Candidate
from .search_run import BudgetError, Made, SearchRun


class PoolRun(SearchRun):
    """Batches of whole runs; `stop_at` hands what a prompt does not need to those below."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.cost: int | None = self.on_record[0]["nfe"] if self.on_record else None
        self.strategies: dict[int, Strategy] = {}
        self.decoder = Decoder(self.call)
        self.preview_at = next((one.preview_at for one in self.verifiers if one.needs_previews), None)

    def _search(self) -> None:
        if self.strategy.moves_noise and self.indices:
            prompt = self.prompts[self.indices[0]]
            check_moves_noise(self.call.pipe, self.call.row_arguments(prompt, 1))
        for i in self.indices:
            self._begin(i)
            self._go_on(i)
            if self.stopped:
                break
        self._spend_what_is_left()

    def _begin(self, i: int) -> None:
        """Start a prompt's search."""
        self.pools[i] = []
        if self.budget is not None and i == self.indices[0]:  # what a candidate costs is not known before the first
            self._batch(i, self.strategy.start(self._first_seed(i), 1).propose(1))
        self.quota = self.num_candidates if self.num_candidates is not None else self.budget // self.cost
        self.strategies[i] = self.strategy.start(self._first_seed(i), self.quota)
        if pool := self.pools[i]:
            self.strategies[i].observe(self.strategies[i].propose(len(pool)), [candidate.score for candidate in pool])

    def _go_on(self, i: int) -> None:
        """Go through a prompt's batches until its budget is spent or its score reached."""
        strategy = self.strategies[i]
        while not (strategy.done or self._reached(i) or self.stopped):
            batch = strategy.propose(self.batch_size)
            strategy.observe(batch, [candidate.score for candidate in self._batch(i, batch)])

    def _reached(self, i: int) -> bool:
        return self.stop_at is not None and any(candidate.score >= self.stop_at for candidate in self.pools[i])

    def _spend_what_is_left(self) -> None:
        """Share what prompts that reached their score did not need among those below, until nothing is left."""
        while self.stop_at is not None and not self.stopped:
            left = self.quota * len(self.pools) - len(self.evaluated)
            below = [i for i in self.pools if not self._reached(i)]
            share, rest = divmod(left, max(len(below), 1))
            if not below or not left:
                return
            for k, i in enumerate(below):
                self.strategies[i].extend(share + (k < rest))
                self._go_on(i)

    def _batch(self, i: int, batch: list[Proposal]) -> list[Candidate]:
        new = self._recall(i, batch)
        if len(new) == len(batch):
            self.cursor += len(batch)
        else:  # part of a batch is evaluated again, so that batches stay whole
            self._forget(self.cursor)
            new = self._evaluate(i, batch)
        self._add(i, batch, new)
        return new

    def _make(self, prompt: str | int, batch: Sequence[Proposal]) -> Made:
        seeds, lineages = [one.seed for one in batch], [one.lineage for one in batch]
        if self.preview_at is None:
            return Made(*self.call(prompt, seeds, lineages))
        if len(batch) > 1 and not self.call.makes_rows(prompt):
            return reduce(add, (self._make(prompt, [one]) for one in batch))
        with record_previews(self.call.pipe, [self.preview_at]) as previews:
            images, usable = self.call(prompt, seeds, lineages)
        (latents,) = previews.latents.values()
        # DiTPipeline steps both halves of a guided batch; the first is the images'.
        pictures, whole = self.decoder(prompt, latents[: len(seeds)])
        return Made(images, [a and b for a, b in zip(usable, whole, strict=True)], pictures)

    def _make_again(self, prompt: str | int, batch: list[Proposal]) -> Made:
        return self._generate(prompt, batch)

    def _judge_of(self, candidate: Proposal) -> Verifier | None:
        return self.judge

    def _progress(self, candidate: Proposal) -> Record:
        return {}

    def _check_cost(self, candidate: Proposal, cost: int) -> None:
        if self.budget is not None and cost > self.budget:
            raise BudgetError(self.budget, cost)
        self.cost = self.cost or cost

    def _expected(self) -> int:
        per_prompt = self.num_candidates if self.num_candidates is not None else self.budget // self.cost
        return self.cost * per_prompt * len(self.indices)
