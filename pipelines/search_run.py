"""One run of a noise search: batches of candidates, their records, and when each prompt is done."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..samplers.strategies import Proposal, Strategy
from ..verifiers import Verifier
from .call import PipelineCall
from .ledger import Ledger, count_nfe
from .records import Record, RecordFile, RecordsError
from .scoring import score_batch
from .search_result import Candidate, SearchResult

SEEDS_PER_PROMPT = 100_000
"""Prompt i of a list starts at seed + i * SEEDS_PER_PROMPT, so that prompts do not share noises."""


class BudgetError(ValueError):
    """The budget buys no candidate."""


@dataclass(frozen=True)
class BatchReport:
    """What `on_batch` is told: the records and images of a batch, and the cost so far."""

    records: list[Record]
    images: list[Image.Image]
    ledger: Ledger


class SearchRun:
    """The state of one call of `NoiseSearch`: prompts, pools, what is on record, and what is left of the budget."""

    def __init__(
        self,
        call: PipelineCall,
        verifier: Verifier,
        judge: Verifier | None,
        strategy: Strategy,
        prompts: list[str | int],
        file: RecordFile | None,
        *,
        budget: int | None,
        num_candidates: int | None,
        seed: int,
        batch_size: int,
        stop_at: float | None,
        on_batch: Callable[[BatchReport], bool | None] | None,
        indices: Sequence[int],
    ):
        self.call, self.verifier, self.judge, self.strategy = call, verifier, judge, strategy
        self.prompts, self.file, self.indices = prompts, file, indices
        self.budget, self.num_candidates, self.stop_at = budget, num_candidates, stop_at
        self.seed, self.batch_size, self.on_batch = seed, batch_size, on_batch

        self.verifiers = [one for one in (verifier, judge) if one is not None]
        self.on_record: list[Record] = list(file.records) if file else []
        self.cursor = 0
        self.cost: int | None = self.on_record[0]["nfe"] if self.on_record else None
        self.pools: dict[int, list[Candidate]] = {}
        self.strategies: dict[int, Strategy] = {}
        self.evaluated: list[Candidate] = []
        self.stopped = False
        self.started = time.monotonic()
        self.seconds_before = file.seconds if file else 0.0
        self.ledger = Ledger()

    def run(self, bar: Progress) -> SearchResult:
        self.bar, self.task = bar, bar.add_task("search", total=None, best="")
        for i in self.indices:
            self._begin(i)
            self._go_on(i)
            if self.stopped:
                break
        self._spend_what_is_left()
        pools = list(self.pools.values())
        best = [self._choose(pool) for pool in pools]
        judge = self.judge.name if self.judge else None
        return SearchResult(best, pools, self.ledger, self.verifier.name, judge, self.evaluated)

    def _begin(self, i: int) -> None:
        """Start a prompt's search."""
        first_seed, pool = self.seed + i * SEEDS_PER_PROMPT, []
        self.pools[i] = pool
        if self.budget is not None and i == self.indices[0]:  # what a candidate costs is not known before the first
            self._batch(i, self.strategy.start(first_seed, 1).propose(1))
        count = self.num_candidates if self.num_candidates is not None else self.budget // self.cost
        self.quota = count
        self.strategies[i] = self.strategy.start(first_seed, count)
        if pool:
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
        new = self._recall(i, batch) or self._evaluate(i, self.prompts[i], batch, self.pools[i])
        self.pools[i] += new
        self.evaluated += new
        self.ledger.nfe += sum(candidate.record["nfe"] for candidate in new)
        self.ledger.decodes += len(new)
        self.ledger.verifier_calls += len(new) * len(self.verifiers)
        self.ledger.seconds = self.seconds_before + time.monotonic() - self.started
        self._show(self.pools[i])
        if self.file:
            self.file.write_ledger(self.ledger.as_dict())
        if self.on_batch is not None:
            report = BatchReport([c.record for c in new], [c.image for c in new], self.ledger)
            self.stopped = self.on_batch(report) is False
        return new

    def _recall(self, i: int, batch: list[Proposal]) -> list[Candidate]:
        """The batch as an earlier run recorded it; empty where it must be evaluated."""
        known = self.on_record[self.cursor : self.cursor + len(batch)]
        if len(known) < len(batch):
            if known:  # part of a batch: evaluated again, so that batches stay whole
                self.file.keep(self.cursor)
                self.on_record = self.on_record[: self.cursor]
            return []
        for record, proposal in zip(known, batch, strict=True):
            moves = tuple((seed, angle) for seed, angle in record.get("lineage", ()))
            if (record["prompt_index"], record["seed"], moves) != (i, proposal.seed, proposal.lineage):
                raise RecordsError(
                    f"{self.file.file} has seed {record['seed']} of prompt {record['prompt_index']} where this search "
                    f"has seed {proposal.seed} of prompt {i}; name another output folder"
                )
        self.cursor += len(batch)
        return [self._candidate(record) for record in known]

    def _evaluate(self, i: int, prompt: str | int, batch: list[Proposal], pool: list[Candidate]) -> list[Candidate]:
        """Run the pipeline and the verifiers on a batch, and write its records."""
        images, usable, nfe = self._generate(prompt, batch)
        cost = nfe // len(batch)
        if self.budget is not None and cost > self.budget:
            raise BudgetError(
                f"budget is {self.budget} NFEs, below one candidate, which costs {cost} here; give at least {cost}"
            )
        self.cost = self.cost or cost
        scores, reasons = score_batch(self.verifiers, images, usable, str(prompt))
        spent = sum(candidate.record["nfe"] for candidate in pool)
        records: list[Record] = []
        for k, (proposal, row, reason) in enumerate(zip(batch, scores, reasons, strict=True)):
            index = len(pool) + k
            record = {
                "prompt": prompt,
                "prompt_index": i,
                "index": index,
                "strategy": self.strategy.name,
                "seed": proposal.seed,
                "lineage": list(proposal.lineage),
                "nfe": cost,
                "nfe_so_far": spent + cost * (k + 1),
                "score": float("-inf") if reason else row.get(self.verifier.name),
                "scores": row,
                "file": f"images/{i:04d}_{index:05d}.png" if self.file else None,
            }
            records.append(record | ({"reason": reason} if reason else {}))
        pictures = [Image.fromarray(image) for image in images]
        if self.file:
            for record, picture in zip(records, pictures, strict=True):
                self.file.save_image(record, picture)
            self.file.append(records)
        return [self._candidate(*pair) for pair in zip(records, pictures, strict=True)]

    def _generate(self, prompt: str | int, batch: list[Proposal]) -> tuple[np.ndarray, list[bool], int]:
        """Run a batch; out of memory, in halves: the records show the same batch either way."""
        try:
            with count_nfe(self.call.pipe) as counted:
                seeds, lineages = [one.seed for one in batch], [one.lineage for one in batch]
                images, usable = self.call(prompt, seeds, lineages)
            return images, usable, counted.nfe
        except torch.OutOfMemoryError:
            if len(batch) == 1:
                raise
        half = len(batch) // 2
        warnings.warn(f"out of memory with {len(batch)} candidates a call; going on with {half}", stacklevel=2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        parts = [self._generate(prompt, part) for part in (batch[:half], batch[half:])]
        return np.concatenate([part[0] for part in parts]), parts[0][1] + parts[1][1], parts[0][2] + parts[1][2]

    def _candidate(self, record: Record, picture: Image.Image | None = None) -> Candidate:
        score = record["score"] if record["score"] is not None else float("nan")
        source = self.file.folder / record["file"] if self.file else picture
        if "reason" in record:
            source = None
        return Candidate(record, score, self.call.arguments, self.call.takes_labels, source)

    def _choose(self, pool: list[Candidate]) -> Candidate:
        """The best of a prompt's pool; the first of equals, and the first of all where every one failed.

        Where a score ends the search, it is the first that reached it, so the batch size does not tell.
        """
        good = [candidate for candidate in pool if "reason" not in candidate.record]
        if not good:
            return pool[0]
        if reaching := [c for c in good if self.stop_at is not None and c.score >= self.stop_at]:
            return reaching[0]
        names = good[0].scores
        pooled = {name: torch.tensor([candidate.scores[name] for candidate in good]) for name in names}
        values = self.verifier.select(pooled)
        k = int(values.argmax())
        return replace(good[k], score=float(values[k]))

    def _show(self, pool: list[Candidate]) -> None:
        per_prompt = self.num_candidates if self.num_candidates is not None else self.budget // self.cost
        scores = [candidate.score for candidate in pool if np.isfinite(candidate.score)]
        self.bar.update(
            self.task,
            total=self.cost * per_prompt * len(self.indices),
            completed=self.cost * len(self.evaluated),
            best=f"best {max(scores):.3f}" if scores else "",
        )


@contextmanager
def progress_bar(shown: bool) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total} NFEs"),
        TextColumn("{task.fields[best]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, disable=not shown, transient=True) as bar:
        yield bar
