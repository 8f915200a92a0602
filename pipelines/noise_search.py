"""Noise search (Ma et al., arXiv 2501.09732): choose the initial noise so that a verifier likes the finished image.

It acts at two seams of an unmodified pipeline, `generator=` and the verifier: candidate k is a row of a batch that
starts from the pipeline's own noise for its own seed, so it depends on no other row and can be made again from its
seed alone. Cost: one whole run of the pipeline a candidate; prompts are encoded once for each batch size.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..samplers.strategies import Proposal, Strategy, make_strategy
from ..verifiers import Verifier
from .call import PipelineCall, encode_once, quiet
from .ledger import Ledger, count_nfe
from .records import Record, RecordFile, RecordsError, describe, write_atomically
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


class NoiseSearch:
    """Search over initial noises with any diffusers pipeline.

    Args:
        pipe: any pipeline that makes images of prompts or class labels; it is not changed.
        verifier: guides the search; a `Verifier`, or a `RankEnsemble`, which chooses when a prompt's pool is whole.
        strategy: a name in `samplesmith.samplers.strategies.STRATEGIES`, or a `Strategy`.
        judge: scores each candidate too, but takes no part in the choice: an honest measure of the gain.

    Raises:
        ValueError: for an unknown strategy.
    """

    def __init__(
        self, pipe: Any, verifier: Verifier, strategy: str | Strategy = "random", judge: Verifier | None = None
    ):
        self.pipe = pipe
        self.verifier = verifier
        self.strategy = make_strategy(strategy)
        self.judge = judge

    def __call__(
        self,
        prompt: str | int | Sequence[str | int],
        *,
        budget: int | None = None,
        num_candidates: int | None = None,
        seed: int = 0,
        batch_size: int = 8,
        output_dir: str | Path | None = None,
        progress: bool = True,
        on_batch: Callable[[BatchReport], bool | None] | None = None,
        **pipeline_kwargs: Any,
    ) -> SearchResult:
        """Search each prompt for its best image.

        Args:
            prompt: a prompt, or a class label, or a list of them.
            budget: NFEs a prompt (one forward of one row; a guided step costs two), never exceeded. The very first
                candidate runs alone, to learn what one costs. Either this or `num_candidates`.
            num_candidates: candidates a prompt.
            seed: of the first candidate, at least 0; with the random strategy candidate k of prompt i has seed
                `seed + k + i * 100_000`.
            batch_size: candidates in one call of the pipeline. Scores depend on it by about 1e-6.
            output_dir: where records and images are written as they come; the same call again goes on from there.
            progress: show a bar with the budget and the best score.
            on_batch: called after each batch; where it returns False the search ends with what it has.
            pipeline_kwargs: passed to the pipeline as they are; what is not given keeps the pipeline's own default.

        Raises:
            BudgetError: where the budget is below one candidate; the message names its cost.
            RecordsError: where `output_dir` is not writable, corrupt, or holds another run.
            ValueError: for other bad arguments, in one sentence each.
        """
        prompts = list(prompt) if isinstance(prompt, (list, tuple)) else [prompt]
        _check(prompts, budget, num_candidates, seed, batch_size)
        call = PipelineCall(self.pipe, pipeline_kwargs)
        run = self._describe(prompts, budget, num_candidates, seed, batch_size, pipeline_kwargs)
        file = RecordFile(output_dir, run) if output_dir is not None else None
        search = _Search(self, call, prompts, file, budget, num_candidates, seed, batch_size, on_batch)
        with quiet(self.pipe), encode_once(self.pipe), torch.no_grad():
            self._place(self.verifier)
            self._place(self.judge)
            with _progress_bar(progress) as bar:
                return search.run(bar)

    def _place(self, verifier: Verifier | None) -> None:
        device = getattr(self.pipe, "_execution_device", torch.device("cpu"))
        if verifier is not None and device.type != "cpu":
            verifier.to(device)

    def _describe(self, prompts, budget, num_candidates, seed, batch_size, arguments) -> dict[str, Any]:
        """What `run.json` says: a folder goes on with a run that reads the same."""
        pipe = self.pipe
        config = dict(pipe.scheduler.config)
        return {
            "pipeline": type(pipe).__name__,
            "model": _portable(pipe.config.get("_name_or_path")),
            "scheduler": type(pipe.scheduler).__name__,
            "scheduler_config": {k: describe(v) for k, v in sorted(config.items()) if not k.startswith("_")},
            "dtype": str(pipe.dtype),
            "device": str(getattr(pipe, "_execution_device", "cpu")),
            "verifier": self.verifier.name,
            "judge": self.judge.name if self.judge else None,
            "strategy": {"name": self.strategy.name, **{k: describe(v) for k, v in vars(self.strategy).items()}},
            "prompts": [describe(prompt) for prompt in prompts],
            "budget": budget,
            "num_candidates": num_candidates,
            "seed": seed,
            "batch_size": batch_size,
            "arguments": {key: describe(value) for key, value in sorted(arguments.items())},
            "versions": {name: version(name) for name in ("torch", "diffusers", "transformers")},
        }


def _portable(name: Any) -> str | None:
    """A model's name without this machine's path."""
    return None if name is None else Path(str(name)).name if Path(str(name)).is_dir() else str(name)


def _check(prompts, budget, num_candidates, seed, batch_size) -> None:
    if (budget is None) == (num_candidates is None):
        raise ValueError("give just one of budget= (NFEs a prompt) and num_candidates= (candidates a prompt)")
    if not prompts or any(isinstance(prompt, str) and not prompt.strip() for prompt in prompts):
        raise ValueError("the prompt is empty; say what to draw")
    for name, value, least in (
        ("budget", budget, 1),
        ("num_candidates", num_candidates, 1),
        ("batch_size", batch_size, 1),
        ("seed", seed, 0),
    ):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
            raise ValueError(f"{name} is {value!r}; give a whole number of at least {least}")
    if num_candidates is not None and num_candidates > SEEDS_PER_PROMPT:
        raise ValueError(
            f"num_candidates is {num_candidates}; at most {SEEDS_PER_PROMPT} a prompt have seeds of their own"
        )


class _Search:
    """The state of one call of `NoiseSearch`."""

    def __init__(self, owner, call, prompts, file, budget, num_candidates, seed, batch_size, on_batch):
        self.owner: NoiseSearch = owner
        self.call: PipelineCall = call
        self.prompts: list[str | int] = prompts
        self.file: RecordFile | None = file
        self.budget: int | None = budget
        self.num_candidates: int | None = num_candidates
        self.seed: int = seed
        self.batch_size: int = batch_size
        self.on_batch: Callable[[BatchReport], bool | None] | None = on_batch

        self.verifiers = [verifier for verifier in (owner.verifier, owner.judge) if verifier is not None]
        self.on_record: list[Record] = list(file.records) if file else []
        self.cursor = 0
        self.cost: int | None = self.on_record[0]["nfe"] if self.on_record else None
        self.pools: list[list[Candidate]] = []
        self.stopped = False
        self.started = time.monotonic()
        self.seconds_before = _seconds_on_record(file)
        self.ledger = Ledger()

    def run(self, bar: Progress) -> SearchResult:
        self.bar, self.task = bar, bar.add_task("search", total=None, best="")
        for i, prompt in enumerate(self.prompts):
            self.pools.append([])
            self._search_prompt(i, prompt, self.pools[-1])
            if self.stopped:
                break
        best = [self._choose(pool) for pool in self.pools]
        judge = self.owner.judge.name if self.owner.judge else None
        return SearchResult(best, self.pools, self.ledger, self.owner.verifier.name, judge)

    def _search_prompt(self, i: int, prompt: str | int, pool: list[Candidate]) -> None:
        """Go through a prompt's batches: those on record are read, the others evaluated."""
        first_seed = self.seed + i * SEEDS_PER_PROMPT
        if self.budget is not None and i == 0:  # what a candidate costs is not known before the first
            alone = self.owner.strategy.start(first_seed, 1).propose(1)
            self._batch(i, prompt, alone, pool)
        count = self.num_candidates if self.num_candidates is not None else self.budget // self.cost
        strategy = self.owner.strategy.start(first_seed, count)
        if pool:
            strategy.observe(strategy.propose(len(pool)), [candidate.score for candidate in pool])
        while not strategy.done and not self.stopped:
            batch = strategy.propose(self.batch_size)
            new = self._batch(i, prompt, batch, pool)
            strategy.observe(batch, [candidate.score for candidate in new])

    def _batch(self, i: int, prompt: str | int, batch: list[Proposal], pool: list[Candidate]) -> list[Candidate]:
        new = self._recall(i, batch) or self._evaluate(i, prompt, batch, pool)
        pool += new
        self.ledger.nfe += sum(candidate.record["nfe"] for candidate in new)
        self.ledger.decodes += len(new)
        self.ledger.verifier_calls += len(new) * len(self.verifiers)
        self.ledger.seconds = self.seconds_before + time.monotonic() - self.started
        self._show(pool)
        if self.file:
            write_atomically(self.file.folder / "ledger.json", json.dumps(self.ledger.as_dict(), indent=2) + "\n")
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
            if (record["prompt_index"], record["seed"]) != (i, proposal.seed):
                raise RecordsError(
                    f"{self.file.file} has seed {record['seed']} of prompt {record['prompt_index']} where this search "
                    f"has seed {proposal.seed} of prompt {i}; name another output folder"
                )
        self.cursor += len(batch)
        return [self._candidate(record) for record in known]

    def _evaluate(self, i: int, prompt: str | int, batch: list[Proposal], pool: list[Candidate]) -> list[Candidate]:
        """Run the pipeline and the verifiers on a batch, and write its records."""
        images, usable, nfe = self._generate(prompt, [proposal.seed for proposal in batch])
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
                "strategy": self.owner.strategy.name,
                "seed": proposal.seed,
                "lineage": list(proposal.lineage),
                "nfe": cost,
                "nfe_so_far": spent + cost * (k + 1),
                "score": float("-inf") if reason else row.get(self.owner.verifier.name),
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

    def _generate(self, prompt: str | int, seeds: list[int]) -> tuple[np.ndarray, list[bool], int]:
        """Run a batch; out of memory, in halves: the records show the same batch either way."""
        try:
            with count_nfe(self.call.pipe) as counted:
                images, usable = self.call(prompt, seeds)
            return images, usable, counted.nfe
        except torch.OutOfMemoryError:
            if len(seeds) == 1:
                raise
        half = len(seeds) // 2
        warnings.warn(f"out of memory with {len(seeds)} candidates a call; going on with {half}", stacklevel=2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        parts = [self._generate(prompt, part) for part in (seeds[:half], seeds[half:])]
        return np.concatenate([part[0] for part in parts]), parts[0][1] + parts[1][1], parts[0][2] + parts[1][2]

    def _candidate(self, record: Record, picture: Image.Image | None = None) -> Candidate:
        score = record["score"] if record["score"] is not None else float("nan")
        source = self.file.folder / record["file"] if self.file else picture
        if "reason" in record:
            source = None
        return Candidate(record, score, self.call.arguments, self.call.takes_labels, source)

    def _choose(self, pool: list[Candidate]) -> Candidate:
        """The best of a prompt's pool; the first of equals, and the first of all where every one failed."""
        good = [candidate for candidate in pool if "reason" not in candidate.record]
        if not good:
            return pool[0]
        names = good[0].scores
        pooled = {name: torch.tensor([candidate.scores[name] for candidate in good]) for name in names}
        values = self.owner.verifier.select(pooled)
        k = int(values.argmax())
        return replace(good[k], score=float(values[k]))

    def _show(self, pool: list[Candidate]) -> None:
        per_prompt = self.num_candidates if self.num_candidates is not None else self.budget // self.cost
        scores = [candidate.score for candidate in pool if np.isfinite(candidate.score)]
        self.bar.update(
            self.task,
            total=self.cost * per_prompt * len(self.prompts),
            completed=self.cost * sum(map(len, self.pools)),
            best=f"best {max(scores):.3f}" if scores else "",
        )


def _seconds_on_record(file: RecordFile | None) -> float:
    """Wall time of earlier runs in the folder."""
    if file is None or not file.records or not (file.folder / "ledger.json").exists():
        return 0.0
    try:
        return float(json.loads((file.folder / "ledger.json").read_text())["seconds"])
    except (ValueError, TypeError, KeyError):
        return 0.0


@contextmanager
def _progress_bar(shown: bool) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total} NFEs"),
        TextColumn("{task.fields[best]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, disable=not shown, transient=True) as bar:
        yield bar
