"""Noise search (Ma et al., arXiv 2501.09732): choose the initial noise so that a verifier likes the finished image.

It acts at two seams of an unmodified pipeline, `generator=` and the verifier: candidate k is a row of a batch that
starts from the pipeline's own noise for its own seed, so it depends on no other row and can be made again from its
seed alone. Cost: one whole run of the pipeline per candidate, less where halving stops it; prompts are encoded once for
each batch size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...samplers.strategies import Need, Strategy, make_strategy
from ...verifiers import Verifier
from ..call import PipelineCall, encode_once, quiet
from ..counting import denoisers_kept
from ..numbers import check_numbers
from ..quick_previews import FULL, QuickPreview, make_preview
from ..row_times import own_times
from .auto_steps import allocate, names
from .calibration import Calibration
from .engine import SEEDS_PER_PROMPT, BatchReport, Engine, Limits, progress_bar
from .look import Look
from .merge import merge_leftovers, merge_when_last
from .needs import checks_of
from .recorder import FileRecorder, Recorder
from .records import RecordFile, check_writable
from .result import SearchResult
from .run_description import describe, describe_model, describe_verifiers, describe_versions
from .scorer import Scorer
from .shards import Shard

if TYPE_CHECKING:
    from .job import SearchJob


class NoiseSearch:
    """Search over initial noises with any diffusers pipeline.

    Args:
        pipe: any pipeline that makes images of prompts or class labels; it is not changed.
        verifier: guides the search; a `Verifier`, or a `RankEnsemble`, which chooses when a prompt's pool is whole.
        strategy: a name in `samplesmith.samplers.strategies.STRATEGIES`, or a `Strategy`.
        judge: scores each finished candidate too, but takes no part in the choice: an honest measure of the gain. Where
            it fails, its score is None in the record, with the reason; where the guide fails, the candidate is lost.
        calibration: of the pipeline and verifier, or its file; it tells the steps that "auto" stands for, and where
            halving may end its first rung.
        preview: shows clean predictions where a strategy scores unfinished candidates: "full" for the pipeline's own
            decode, "latent" (a linear fit, `samplesmith calibrate`), "tiny:model=madebyollin/taesd", or a
            `QuickPreview`.

    A verifier that compares images with previews costs one more decode per candidate, and the memory of their latents.

    Attributes:
        job: what made this search by names; `run.json` shows it.

    Raises:
        ValueError: for an unknown strategy, or one that the pipeline or the verifier cannot serve.
    """

    def __init__(
        self,
        pipe: Any,
        verifier: Verifier,
        strategy: str | Strategy = "random",
        judge: Verifier | None = None,
        calibration: Calibration | str | Path | None = None,
        preview: str | QuickPreview = FULL,
    ):
        self.pipe = pipe
        self.verifier = verifier
        self.strategy = make_strategy(strategy)
        self.judge = judge
        self.job: SearchJob | None = None
        self.calibration = Calibration.load(calibration) if isinstance(calibration, (str, Path)) else calibration
        self.preview = make_preview(preview, pipe)
        for check in checks_of(self.strategy):
            check.pipeline(pipe, self.strategy)
            check.verifiers(verifier, judge, self.strategy)
        compare = [one for one in (verifier, judge) if one is not None and one.needs_previews]
        if len({one.preview_at for one in compare}) > 1:
            raise ValueError(
                f"{compare[0].name} and {compare[1].name} need previews at {compare[0].preview_at:g} and "
                f"{compare[1].preview_at:g} of the run; give them one preview_at"
            )

    def __call__(
        self,
        prompt: str | int | Sequence[str | int | None] | None,
        *,
        budget: int | None = None,
        num_candidates: int | None = None,
        seed: int = 0,
        batch_size: int = 8,
        stop_at: float | None = None,
        looks: Sequence[Look] = (),
        output_dir: str | Path | None = None,
        progress: bool = True,
        on_batch: Callable[[BatchReport], bool | None] | None = None,
        **pipeline_kwargs: Any,
    ) -> SearchResult:
        """Search each prompt for its best image.

        Started by `torchrun` or `accelerate launch`, processes deal the prompts out among them. Each returns the result
        of its own prompts, and whoever ends last merges the records and returns the whole.

        Args:
            prompt: a prompt, or a class label, or a list of them; None where `prompt_embeds` are among the arguments.
            budget: NFEs per prompt (one forward of one row; a guided step costs two), never exceeded. The very first
                candidate runs alone, which tells what each costs. Either this or `num_candidates`.
            num_candidates: candidates per prompt; with halving, those that start.
            seed: of the first candidate, at least 0; with the random strategy candidate k of prompt i has seed
                `seed + k + i * 100_000`.
            batch_size: candidates in one call of the pipeline. Scores depend on it by about 1e-6.
            stop_at: a score that ends a prompt's search; the first candidate to reach it wins. What is not spent then
                goes to the prompts that are still below, after all had their own share.
            looks: verifiers that also score clean predictions on the way; their scores are in the records, as
                "emoji-clip after step 8". Each costs a decode and a verifier call, no NFE.
            output_dir: where records and images are written as they come; the same call again goes on from there, asks
                again for scores that a verifier did not give, and makes pictures again that are gone.
            progress: show a bar with the budget and the best score.
            on_batch: called after each batch; where it returns False the search ends with what it has, which may be
                unfinished where halving had finished nothing yet.
            pipeline_kwargs: passed to the pipeline as they are; what is not given keeps the pipeline's own default.
                `num_inference_steps="auto"` leaves steps and candidates to the calibration.

        Raises:
            BudgetError: where the budget is below one candidate; the message names its cost.
            RecordsError: where `output_dir` is not writable, corrupt, in use, or holds another run.
            ValueError: for other bad arguments, in one sentence each.
        """
        prompts = [prompt] if prompt is None or isinstance(prompt, (str, int)) else list(prompt)
        _check(prompts, budget, num_candidates, seed, batch_size)
        self._check_runs_whole(stop_at, looks)
        allocation = allocate(self.calibration, self.pipe, self.verifier, budget, pipeline_kwargs)
        if allocation is not None:
            pipeline_kwargs["num_inference_steps"] = allocation.num_inference_steps
        call = self.check(pipeline_kwargs)
        limits = Limits(budget, num_candidates, seed, batch_size, stop_at)
        run = {} if output_dir is None else self._describe(prompts, limits, looks, pipeline_kwargs)
        if allocation is not None:
            run["allocation"] = asdict(allocation)
            limits = Limits(allocation.nfe, num_candidates, seed, batch_size, stop_at)
        calibration = None
        if self.calibration is not None and Need.PAUSES in self.strategy.needs:
            calibration = self.calibration
            calibration.check(**names(self.pipe, self.verifier, pipeline_kwargs))
            run["calibration"] = describe(asdict(calibration))
        if self.preview is not None:
            run["preview"] = describe(self.preview)
        scorer = Scorer(self.verifier, self.judge, looks)

        def search(file: RecordFile | None, indices: Sequence[int], shown: bool) -> SearchResult:
            recorder = Recorder() if file is None else FileRecorder(file, scorer)
            engine = Engine(
                call, self.strategy, scorer, recorder, limits, prompts, indices, calibration, on_batch, self.preview
            )
            with progress_bar(shown) as bar:
                result = engine.run(bar)
            result.allocation = allocation
            return result

        everything, shard = range(len(prompts)), Shard.of_this_process()
        if shard is not None:
            _check_shards(output_dir, stop_at, prompts, shard)
        pipe = self.pipe
        with quiet(pipe), encode_once(pipe), denoisers_kept(pipe), own_times(pipe, batch_size), torch.no_grad():
            self._place(self.verifier, self.judge, *(look.verifier for look in looks))
            if output_dir is None:
                return search(None, everything, progress)
            check_writable(Path(output_dir))
            merge_leftovers(Path(output_dir), shard)
            mine = everything if shard is None else everything[shard.rank :: shard.size]
            with RecordFile(output_dir, run, shard) as file:
                result = search(file, mine, progress and (shard is None or shard.rank == 0))
            if shard is None:
                return result
            if not merge_when_last(Path(output_dir), shard):
                result.whole = False
                return result
            with RecordFile(output_dir, run) as file:
                return search(file, everything, False)

    def _check_runs_whole(self, stop_at: float | None, looks: Sequence[Look]) -> None:
        """Refuse what only searches of whole runs can do, or only verifiers with a score for each image.

        Raises:
            ValueError: with the reason.
        """
        if self.verifier.needs_pool and stop_at is not None:
            raise ValueError(f"{self.verifier.name} has no score before a pool is whole; leave stop_at out")
        if Need.PAUSES in self.strategy.needs:
            if stop_at is not None:
                raise ValueError(f"{self.strategy.name} scores candidates before they are finished; leave stop_at out")
            if looks:
                raise ValueError(f"{self.strategy.name} looks at its candidates itself; leave looks out")

    def check(self, arguments: Mapping[str, Any]) -> PipelineCall:
        """Whether a search whose calls have these arguments can run, as far as can be said before one does.

        Args:
            arguments: of the pipeline's call, beside prompt and generator.

        Raises:
            ValueError: where it cannot, with the reason.
        """
        call = PipelineCall(self.pipe, arguments)
        for check in checks_of(self.strategy):
            check.arguments(self.pipe, arguments)
        return call

    def _place(self, *verifiers: Verifier | None) -> None:
        device = getattr(self.pipe, "_execution_device", torch.device("cpu"))
        for verifier in verifiers:
            if verifier is not None and device.type != "cpu":
                verifier.to(device)

    def _describe(
        self,
        prompts: Sequence[str | int | None],
        limits: Limits,
        looks: Sequence[Look],
        arguments: Mapping[str, Any],
    ) -> dict[str, Any]:
        """What `run.json` says."""
        return {
            **describe_model(self.pipe),
            **describe_verifiers(self.verifier, self.judge),
            "strategy": {"name": self.strategy.name, **{k: describe(v) for k, v in vars(self.strategy).items()}},
            "prompts": [describe(prompt) for prompt in prompts],
            **asdict(limits),
            "looks": [look.describe() for look in looks],
            "arguments": {key: describe(value) for key, value in sorted(arguments.items())},
            "versions": describe_versions(),
            "job": None if self.job is None else self.job.as_dict(),
        }


def _check(
    prompts: Sequence[str | int | None], budget: int | None, num_candidates: int | None, seed: int, batch_size: int
) -> None:
    if (budget is None) == (num_candidates is None):
        raise ValueError("give just one of budget= (NFEs per prompt) and num_candidates= (candidates per prompt)")
    if not prompts or any(isinstance(prompt, str) and not prompt.strip() for prompt in prompts):
        raise ValueError("the prompt is empty; say what to draw")
    check_numbers(budget=budget, num_candidates=num_candidates, batch_size=batch_size, seed=seed)
    if num_candidates is not None and num_candidates > SEEDS_PER_PROMPT:
        raise ValueError(
            f"num_candidates is {num_candidates}; give at most {SEEDS_PER_PROMPT}: each prompt has that many seeds"
        )


def _check_shards(output_dir: str | Path | None, stop_at: float | None, prompts: Sequence[Any], shard: Shard) -> None:
    if output_dir is None:
        raise ValueError("several processes share their records through output_dir; give one")
    if stop_at is not None:
        raise ValueError(
            "stop_at hands what one prompt did not spend to others, which several processes cannot; leave it out"
        )
    if len(prompts) < shard.size:
        raise ValueError(
            f"{shard.size} processes share {len(prompts)} prompts, and each needs at least one; start fewer processes"
        )
