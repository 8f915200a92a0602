"""One run of a search: what a strategy proposes is paid, recalled or made, scored, recorded, and told to the strategy.

A node passes each room once: `Strategy.propose` -> `Budget` -> `Recorder.recall`, or `Evaluator.make` -> `Scorer.score`
-> `Recorder.write` -> `Strategy.observe`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import takewhile

import numpy as np
from PIL import Image
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ...samplers.strategies import Budget, Need, Node, Strategy
from ...samplers.strategies.base import WHOLE
from ...samplers.strategies.budget import Steps
from ..call import PipelineCall
from ..clip import Clip, as_picture
from ..paused_rows import RunLength
from ..quick_previews import QuickPreview
from .calibration import Calibration
from .evaluator import Evaluator
from .ledger import Ledger, shares
from .needs import checks_of
from .record import Record
from .recorder import Recorder
from .result import Candidate, SearchResult, chosen_by, furthest
from .scorer import Scorer

SEEDS_PER_PROMPT = 100_000
"""Prompt i of a list starts at seed + i * SEEDS_PER_PROMPT, so that prompts do not share noises."""


@dataclass(frozen=True)
class Limits:
    """What a search may spend and how.

    Attributes:
        budget: NFEs per prompt; None where `num_candidates` bounds it.
        num_candidates: that begin, per prompt; None where the budget bounds them.
        seed: of the first candidate of the first prompt.
        batch_size: nodes in one call of the pipeline, at most.
        stop_at: a score that ends a prompt's search; None where no score does.
    """

    budget: int | None
    num_candidates: int | None
    seed: int = 0
    batch_size: int = 8
    stop_at: float | None = None

    def quota(self, price: int) -> int | None:
        """How many candidates a prompt may have that cost so many NFEs each; None without a bound."""
        return self.num_candidates if self.budget is None else self.budget // price

    def first_seed(self, prompt_index: int) -> int:
        return self.seed + prompt_index * SEEDS_PER_PROMPT


@dataclass(frozen=True)
class BatchReport:
    """What `on_batch` is called with: a batch's records and images, the cost so far, a call for the result so far."""

    records: list[Record]
    images: list[Image.Image | None]
    ledger: Ledger
    result: Callable[[], SearchResult]


class Engine:
    """Runs a strategy over prompts.

    Args:
        call: of the pipeline.
        strategy: settings; each prompt gets a copy.
        scorer, recorder: of the run.
        limits: of each prompt.
        prompts: all, of which `indices` are searched.
        calibration: tells a strategy how early scores go with final ones; None where that is not known.
        on_batch: called with a report of each batch; where it returns False, the search ends.
        preview: shows clean predictions of paused rows; None for the pipeline's own decode.
    """

    def __init__(
        self,
        call: PipelineCall,
        strategy: Strategy,
        scorer: Scorer,
        recorder: Recorder,
        limits: Limits,
        prompts: Sequence[str | int | None],
        indices: Sequence[int],
        calibration: Calibration | None = None,
        on_batch: Callable[[BatchReport], bool | None] | None = None,
        preview: QuickPreview | None = None,
    ):
        self.call, self.strategy, self.scorer, self.recorder = call, strategy, scorer, recorder
        self.limits, self.prompts, self.indices = limits, prompts, indices
        self.calibration, self.on_batch = calibration, on_batch
        self.evaluator = Evaluator(call, scorer.preview_at, scorer.look_steps, preview)
        self.pools: dict[int, list[Candidate]] = {}
        self.searches: dict[int, Strategy] = {}
        self.prices: dict[Steps, int] = {}
        self.length: RunLength | None = None
        self.stopped = False
        self.ledger = Ledger()
        self._started = time.monotonic()
        self._seconds_before = recorder.seconds

    def run(self, bar: Progress) -> SearchResult:
        """Search each prompt."""
        self.bar, self.task = bar, bar.add_task("search", total=None, best="")
        self._prepare()
        for i in self.indices:
            self._begin(i)
            self._go_on(i)
            if self.stopped:
                break
        self._spend_what_is_left()
        self.recorder.finish()
        return self.result()

    def result(self) -> SearchResult:
        """The outcome so far, of the prompts that have some."""
        pools = [furthest(pool) for pool in self.pools.values() if pool]
        evaluated = sorted(
            (candidate for pool in self.pools.values() for candidate in pool),
            key=lambda one: (one.record.prompt_index, one.record.index),
        )
        best = [self._choose(pool) for pool in pools]
        return SearchResult(best, pools, self.ledger, self.scorer.guide.name, self.scorer.judge_name, evaluated)

    def _prepare(self) -> None:
        """Learn what a run of the pipeline is like, without an NFE."""
        prompt = self.prompts[self.indices[0]]
        for check in checks_of(self.strategy):
            check.call(self.call, prompt)
        if Need.PAUSES in self.strategy.needs:
            self.length = self.evaluator.rows.run_length(prompt)
            if self.calibration is not None:
                steps, known = self.length.num_inference_steps, self.calibration
                self.strategy = self.strategy.informed(known.early_correlations(steps), known.early_quantiles(steps))

    def _begin(self, i: int) -> None:
        limits, length = self.limits, self.length
        budget = Budget(limits.budget, self.prices, None if length is None else length.calls_between)
        steps = None if length is None else length.steps
        self.pools[i] = []
        self.evaluator.begin()

        def start(num_candidates: int | None) -> Strategy:
            self.searches[i] = self.strategy.start(limits.first_seed(i), num_candidates, budget, steps)
            return self.searches[i]

        search = start(limits.num_candidates)
        if limits.budget is None or not search.costs_alike:
            return
        if WHOLE not in self.prices:  # what a candidate costs is not known before the first
            search = start(1)
            self._batch(i, search.propose(1))
        search = start(limits.budget // self.prices[WHOLE])
        if pool := self.pools[i]:
            search.observe(search.propose(len(pool)), [candidate.score for candidate in pool])

    def _go_on(self, i: int) -> None:
        """Go through a prompt's batches until its budget is spent or its score is reached."""
        search = self.searches[i]
        while not (search.done or self._reached(i) or self.stopped):
            batch = self._payable(search)
            if not batch:
                return
            search.observe(batch, [candidate.score for candidate in self._batch(i, batch)])
            self.evaluator.keep(search)

    def _payable(self, search: Strategy) -> list[Node]:
        """The next batch: nodes of the same way, as many as the budget pays; one alone where it tells the price."""
        nodes = search.propose(self.limits.batch_size)
        batch = list(takewhile(lambda node: _way(node) == _way(nodes[0]), nodes))
        if batch and not search.budget.knows(batch[0]):
            return batch[:1]
        return batch[: search.budget.pays(batch)]

    def _batch(self, i: int, batch: list[Node]) -> list[Candidate]:
        """Recall a batch, or make, score and record it."""
        search = self.searches[i]
        records = self.recorder.recall(i, batch, partial(self.evaluator.make_again, self.prompts[i]))
        pictures: Sequence[Image.Image | Clip | None] = [None] * len(records)
        if not records:
            records, pictures = self._evaluate(i, batch)
        search.budget.learn(batch[0], records[0].nfe)
        search.budget.spent += sum(record.nfe for record in records)
        self.evaluator.remember(batch)
        new = [self._candidate(*pair) for pair in zip(records, pictures, strict=True)]
        self.pools[i] += new
        self.ledger.add(records)
        self._tell(i, new)
        return new

    def _batches(self, i: int) -> int:
        """Number of the batches of a prompt so far."""
        return 1 + self.pools[i][-1].record.batch if self.pools[i] else 0

    def _evaluate(self, i: int, batch: list[Node]) -> tuple[list[Record], list[Image.Image | Clip]]:
        """Make and score a batch, and write its records."""
        prompt, pool, search = self.prompts[i], self.pools[i], self.searches[i]
        made = self.evaluator.make(prompt, batch)
        costs = shares(made.nfe, len(batch))
        search.budget.learn(batch[0], costs[0])
        search.check_budget()
        worth = self.scorer.score(prompt, batch[0], made, self.evaluator)
        decodes = shares(made.decodes + worth.decodes, len(batch))
        calls = shares(worth.verifier_calls, len(batch))
        records: list[Record] = []
        for k, (node, scored) in enumerate(zip(batch, worth.scored, strict=True)):
            index = len(pool) + k
            record = Record(
                prompt=prompt,
                prompt_index=i,
                index=index,
                batch=self._batches(i),
                strategy=self.strategy.name,
                node=node,
                nfe=costs[k],
                nfe_so_far=search.budget.spent + sum(costs[: k + 1]),
                decodes=decodes[k],
                verifier_calls=calls[k],
                file=self.recorder.file_name(i, index),
                own_noise=made.own_noise,
                steps=None if self.length is None else self.length.steps,
                steps_done=None if self.length is None else self.length.steps if node.finished else node.stop,
            )
            records.append(record.scored(scored, self.scorer.guide.name))
        pictures = [as_picture(image) for image in made.images]
        self.recorder.write(records, pictures)
        return records, pictures

    def _candidate(self, record: Record, picture: Image.Image | Clip | None) -> Candidate:
        return Candidate.of(record, self.call, self.recorder.source(record, picture), self.evaluator.rows.preview)

    def _tell(self, i: int, new: list[Candidate]) -> None:
        """Show and report a batch, and keep the cost so far."""
        self.ledger.nfe_lost = self.evaluator.nfe_lost
        self.ledger.seconds = self._seconds_before + time.monotonic() - self._started
        self._show(self.pools[i])
        self.recorder.write_ledger(self.ledger)
        if self.on_batch is not None:
            report = BatchReport([one.record for one in new], [one.image for one in new], self.ledger, self.result)
            self.stopped = self.on_batch(report) is False

    def _reached(self, i: int) -> bool:
        return self.limits.stop_at is not None and any(one.score >= self.limits.stop_at for one in self.pools[i])

    def _spend_what_is_left(self) -> None:
        """Share what prompts that reached their score did not need among those below, until nothing is left."""
        limits = self.limits
        while limits.stop_at is not None and not self.stopped:
            price = next(iter(self.prices.values()))
            if (quota := limits.quota(price)) is None:
                return
            left = quota * len(self.pools) - sum(map(len, self.pools.values()))
            below = [i for i in self.pools if not self._reached(i)]
            if not below or not left:
                return
            share, rest = divmod(left, len(below))
            for k, i in enumerate(below):
                extra = share + (k < rest)
                self.searches[i].extend(extra)
                self.searches[i].budget.extend(extra * price)
                self.evaluator.begin()
                self._go_on(i)

    def _choose(self, pool: list[Candidate]) -> Candidate:
        """The best of a prompt's pool; the first of equals, and the first of all where every one failed.

        Where a score ends the search, it is the first that reached it, so the batch size does not tell.
        """
        good = [candidate for candidate in pool if not candidate.record.failed]
        if not good:
            return pool[0]
        stop_at = self.limits.stop_at
        if reaching := [one for one in good if stop_at is not None and one.score >= stop_at]:
            return reaching[0]
        return chosen_by(self.scorer.guide, good)

    def _show(self, pool: list[Candidate]) -> None:
        scores = [candidate.score for candidate in furthest(pool) if np.isfinite(candidate.score)]
        expected = next(reversed(self.searches.values())).expected()
        self.bar.update(
            self.task,
            total=None if expected is None else expected * len(self.indices),
            completed=self.ledger.nfe,
            best=_where(pool) + (f"best {max(scores):.3f}" if scores else ""),
        )


def _way(node: Node) -> tuple[int, int | None, int | None]:
    """What the nodes of one batch have in common: their steps, and where they come from (None: they begin)."""
    parent = node.parent
    return node.start, node.stop, None if parent is None else parent.stop


def _where(pool: Sequence[Candidate]) -> str:
    """At which step the last node of a pool stands, where a search pauses runs."""
    last = pool[-1].record
    return "" if last.steps is None else f"step {last.steps_done} of {last.steps}, "


@contextmanager
def progress_bar(shown: bool) -> Iterator[Progress]:
    """A bar with the budget and the best score."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total} NFEs"),
        TextColumn("{task.fields[best]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, disable=not shown, transient=True) as bar:
        yield bar
