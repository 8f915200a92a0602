"""One run of a noise search: what every kind of it shares: batches are made, scored, recorded and recalled.

Which batches, is told by the kind: `PoolRun` finishes each candidate, `BracketRun` stops candidates on the way.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
import torch
from PIL import Image
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ...samplers.strategies import Proposal, Strategy
from ...verifiers import Verifier
from ..call import PipelineCall
from ..clip import Clip, as_array, as_picture
from ..ledger import Ledger, count_costs, count_verifier_calls, shares
from .records import Record, RecordFile, RecordsError, load_picture
from .result import Candidate, SearchResult, chosen_by, furthest
from .scoring import UNUSABLE, Scored, judge_name, judge_names, measure, score_batch

SEEDS_PER_PROMPT = 100_000
"""Prompt i of a list starts at seed + i * SEEDS_PER_PROMPT, so that prompts do not share noises."""


OUTCOME = ("status", "score", "scores", "reason", "missing")
"""What a record says of a candidate's worth; the rest says how it was made."""


def may_recover(record: Record) -> bool:
    """Whether a verifier failed on a candidate: it may score it when asked again."""
    return "missing" in record or (record["status"] == "failed" and record["reason"] != UNUSABLE)


class BudgetError(ValueError):
    """The budget buys no candidate."""

    def __init__(self, budget: int, least: int):
        super().__init__(
            f"budget is {budget} NFEs, below one candidate, which costs {least} here; give at least {least}"
        )


@dataclass(frozen=True)
class BatchReport:
    """What `on_batch` is told: the records and images of a batch, and the cost so far."""

    records: list[Record]
    images: list[Image.Image]
    ledger: Ledger


@dataclass(frozen=True)
class Made:
    """What a batch of candidates came out as.

    Attributes:
        images: uint8 (batch, height, width, 3).
        usable: whether each is free of NaN and not blacked by a safety checker.
        previews: earlier clean predictions of the same form, for verifiers that compare.
        nfe, decodes: of the whole batch, as counted.
    """

    images: np.ndarray
    usable: list[bool]
    previews: np.ndarray | None = None
    nfe: int = 0
    decodes: int = 0

    def __add__(self, other: Made) -> Made:
        previews = None if self.previews is None else np.concatenate([self.previews, other.previews])
        images = np.concatenate([self.images, other.images])
        usable = self.usable + other.usable
        return Made(images, usable, previews, self.nfe + other.nfe, self.decodes + other.decodes)


class SearchRun(ABC):
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
        mends: bool = True,
    ):
        self.call, self.verifier, self.judge, self.strategy = call, verifier, judge, strategy
        self.prompts, self.file, self.indices = prompts, file, indices
        self.budget, self.num_candidates, self.stop_at = budget, num_candidates, stop_at
        self.seed, self.batch_size, self.on_batch = seed, batch_size, on_batch

        self.judge_name = None if judge is None else judge_name(verifier, judge)
        self.verifiers = [one for one in (verifier, judge) if one is not None]
        self.on_record: list[Record] = list(file.records) if file else []
        self.mends = mends and file is not None and not file.reads_only
        self.recovered: set[int] = set()
        self.cursor = 0
        self.pools: dict[int, list[Candidate]] = {}
        self.evaluated: list[Candidate] = []
        self.stopped = False
        self.started = time.monotonic()
        self.seconds_before = file.seconds if file else 0.0
        self.ledger = Ledger()

    def run(self, bar: Progress) -> SearchResult:
        self.bar, self.task = bar, bar.add_task("search", total=None, best="")
        self._search()
        pools = [furthest(pool) for pool in self.pools.values()]
        best = [self._choose(pool) for pool in pools]
        return SearchResult(best, pools, self.ledger, self.verifier.name, self.judge_name, self.evaluated)

    @abstractmethod
    def _search(self) -> None:
        """Go through the prompts, or until `stopped`: fill the pools by `_add`."""

    @abstractmethod
    def _make(self, prompt: str | int, batch: Sequence[Proposal]) -> Made:
        """Run the pipeline on a batch; NFEs are counted by the caller. May be called again for part of it."""

    @abstractmethod
    def _judge_of(self, candidate: Proposal) -> Verifier | None:
        """The judge, where it measures a candidate; the same for a whole batch."""

    @abstractmethod
    def _progress(self, candidate: Proposal) -> Record:
        """What the record says beside what every record says."""

    @abstractmethod
    def _check_cost(self, candidate: Proposal, cost: int) -> None:
        """Learn what a candidate costs, in NFEs.

        Raises:
            BudgetError: where the budget is below one; nothing of the batch is recorded then.
        """

    @abstractmethod
    def _expected(self) -> int | None:
        """NFEs of the whole run, where they are known."""

    def _first_seed(self, i: int) -> int:
        return self.seed + i * SEEDS_PER_PROMPT

    def _add(self, i: int, batch: Sequence[Proposal], new: list[Candidate]) -> None:
        """Put a batch into the prompt's pool, and count, show and report it."""
        self.pools[i] += new
        self.evaluated += new
        self.ledger.add(candidate.record for candidate in new)
        self.ledger.seconds = self.seconds_before + time.monotonic() - self.started
        self._show(self.pools[i])
        if self.file:
            self.file.write_ledger(self.ledger.as_dict())
        if self.on_batch is not None:
            report = BatchReport([c.record for c in new], [c.image for c in new], self.ledger)
            self.stopped = self.on_batch(report) is False

    def _recall(self, i: int, batch: Sequence[Proposal]) -> list[Candidate]:
        """The batch as an earlier run recorded it; less than the batch where it must be evaluated.

        What failed then is tried again, and a picture that is gone is made again.

        Raises:
            RecordsError: for records of other candidates of the prompt.
        """
        known = self.on_record[self.cursor : self.cursor + len(batch)]
        # Several processes that were killed leave prompts that are not whole before others.
        known = list(takewhile(lambda record: record["prompt_index"] == i, known))
        for record, proposal in zip(known, batch, strict=False):
            moves = tuple((seed, angle) for seed, angle in record.get("lineage", ()))
            asked = {"seed": proposal.seed, **self._progress(proposal)}
            if moves != proposal.lineage or any(record.get(key) != value for key, value in asked.items()):
                if i in self.recovered:  # a score that was missing has changed what comes next
                    return []
                raise RecordsError(
                    f"{self.file.file} has seed {record['seed']} of prompt {record['prompt_index']} where this search "
                    f"has seed {proposal.seed} of prompt {i}; name another output folder"
                )
        if self.mends and len(known) == len(batch):
            known = self._mended(i, batch, known)
        return [self._candidate(record) for record in known]

    def _mended(self, i: int, batch: Sequence[Proposal], known: list[Record]) -> list[Record]:
        """The records of a whole batch with what could be mended; none where the batch must be evaluated anew."""
        lost = [k for k, record in enumerate(known) if may_recover(record)]
        absent = [
            k
            for k, record in enumerate(known)
            if (k in lost or record["status"] == "finished") and not self.file.has_image(record)
        ]
        made = None
        if absent or (lost and any(one.needs_previews or one.follows_run for one in self.verifiers)):
            made = self._make_again(self.prompts[i], batch)
            if made is None:
                return []
            self.ledger.nfe_lost += made.nfe
            for k in absent:
                self.file.save_image(known[k], as_picture(made.images[k]))
        for k in lost:
            with count_verifier_calls(self.verifiers) as counted:
                scored = self._score_again(known[k], batch[k], made, k)
            record = {key: value for key, value in known[k].items() if key not in OUTCOME}
            record["verifier_calls"] += counted.verifier_calls
            known[k] = record | self._outcome(record, scored)
        if lost:
            self.recovered.add(i)
            self.on_record[self.cursor : self.cursor + len(known)] = known
            self.file.replace(self.on_record)
        return known

    def _score_again(self, record: Record, proposal: Proposal, made: Made | None, k: int) -> Scored:
        """Ask again whoever gave no score: the guide, or the judge alone."""
        if made is None:
            images, previews = as_array(load_picture(self.file.folder / record["file"]))[None], None
        else:
            images, previews = made.images[k : k + 1], None if made.previews is None else made.previews[k : k + 1]
        judge, prompt = self._judge_of(proposal), str(record["prompt"])
        judged = {} if judge is None else {n: record["scores"].get(n) for n in judge_names(self.verifier, judge)}
        if record["status"] == "failed":
            (scored,) = score_batch(self.verifier, images, [True], prompt, previews)
            scored.scores |= judged
        else:
            scored = Scored(dict(record["scores"]))
        if judge is not None and None in judged.values():
            measure(judge, self.verifier, [scored], images, prompt, previews)
        return scored

    @abstractmethod
    def _make_again(self, prompt: str | int, batch: Sequence[Proposal]) -> Made | None:
        """Make a whole batch that is on record; None where that cannot be done for it alone."""

    def _forget(self, count: int) -> None:
        """Cut what is on record back to its first `count`: what follows is evaluated again."""
        if count < len(self.on_record):
            self.file.keep(count)
            self.on_record = self.on_record[:count]

    def _evaluate(self, i: int, batch: Sequence[Proposal]) -> list[Candidate]:
        """Run the pipeline and the verifiers on a batch, and write its records."""
        prompt, pool = self.prompts[i], self.pools[i]
        made = self._generate(prompt, batch)
        costs, decodes = shares(made.nfe, len(batch)), shares(made.decodes, len(batch))
        self._check_cost(batch[0], costs[0])
        judge = self._judge_of(batch[0])
        with count_verifier_calls([self.verifier, judge]) as counted:
            found = score_batch(
                self.verifier, made.images, made.usable, "" if prompt is None else str(prompt), made.previews, judge
            )
        calls = shares(counted.verifier_calls, len(batch))
        spent = sum(candidate.record["nfe"] for candidate in pool)
        records: list[Record] = []
        for k, (proposal, scored) in enumerate(zip(batch, found, strict=True)):
            index = len(pool) + k
            record = {
                "prompt": prompt,
                "prompt_index": i,
                "index": index,
                "strategy": self.strategy.name,
                "seed": proposal.seed,
                "lineage": [list(move) for move in proposal.lineage],
                **self._progress(proposal),
                "nfe": costs[k],
                "nfe_so_far": spent + sum(costs[: k + 1]),
                "decodes": decodes[k],
                "verifier_calls": calls[k],
                "file": f"images/{i:04d}_{index:05d}.png" if self.file else None,
            }
            if self.call.gives_noise:  # what the plain pipeline cannot make again
                record["own_noise"] = True
            records.append(record | self._outcome(record, scored))
        pictures = [as_picture(image) for image in made.images]
        if self.file:
            for record, picture in zip(records, pictures, strict=True):
                self.file.save_image(record, picture)
            self.file.append(records)
        return [self._candidate(*pair) for pair in zip(records, pictures, strict=True)]

    def _outcome(self, record: Record, scored: Scored) -> Record:
        """What a record says of a candidate's worth: its status, and null with a reason for what it has not."""
        status = "finished" if record.get("steps_done") == record.get("steps") else "preview"
        return {
            "status": status if scored.reason is None else "failed",
            "score": scored.scores.get(self.verifier.name),
            "scores": scored.scores,
            **({} if scored.reason is None else {"reason": scored.reason}),
            **({"missing": scored.missing} if scored.missing else {}),
        }

    def _generate(self, prompt: str | int, batch: Sequence[Proposal]) -> Made:
        """Run a batch; out of memory, in halves: the records show the same batch either way."""
        with count_costs(self.call.pipe) as counted:
            try:
                return replace(self._make(prompt, batch), nfe=counted.nfe, decodes=counted.decodes)
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
        self.ledger.nfe_lost += counted.nfe
        half = len(batch) // 2
        warnings.warn(f"out of memory with {len(batch)} candidates a call; going on with {half}", stacklevel=2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._generate(prompt, batch[:half]) + self._generate(prompt, batch[half:])

    def _candidate(self, record: Record, picture: Image.Image | Clip | None = None) -> Candidate:
        return Candidate.of(record, self.call, self.file.folder / record["file"] if self.file else picture)

    def _choose(self, pool: list[Candidate]) -> Candidate:
        """The best of a prompt's pool; the first of equals, and the first of all where every one failed.

        Where a score ends the search, it is the first that reached it, so the batch size does not tell.
        """
        good = [candidate for candidate in pool if "reason" not in candidate.record]
        if not good:
            return pool[0]
        if reaching := [c for c in good if self.stop_at is not None and c.score >= self.stop_at]:
            return reaching[0]
        return chosen_by(self.verifier, good)

    def _show(self, pool: list[Candidate]) -> None:
        scores = [candidate.score for candidate in furthest(pool) if np.isfinite(candidate.score)]
        self.bar.update(
            self.task,
            total=self._expected(),
            completed=self.ledger.nfe,
            best=f"best {max(scores):.3f}" if scores else "",
        )


@contextmanager
def progress_bar(shown: bool) -> Iterator[Progress]:
    """A bar of the evaluations, on the error output."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total} NFEs"),
        TextColumn("{task.fields[best]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, disable=not shown, transient=True) as bar:
        yield bar
