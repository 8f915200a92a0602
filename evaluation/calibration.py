"""Measuring a calibration: what candidates are worth by their steps, and what their clean predictions say early.

One search per number of steps, with the same seeds. The verifier also scores x0-hat, decoded, after each step: its rank
correlation with the finished score says from which step on an early choice is useful.
Cost: all candidates at each number of steps, and one decode and one score per step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ..pipelines.search.auto_steps import names
from ..pipelines.search.calibration import Calibration, Preview, StepCount
from ..pipelines.search.look import Look, look_name
from ..pipelines.search.noise_search import NoiseSearch
from ..pipelines.search.shards import Shard
from ..verifiers import Verifier
from .scaling import best_of, pools, score_table

MIN_CANDIDATES = 3
"""Fewer candidates have no meaningful ranks."""

SHARES = np.linspace(0, 1, 11)
"""Of a step's scores: the quantiles that a calibration keeps."""


def calibrate(
    pipe: Any,
    verifier: Verifier,
    prompts: Sequence[str | int],
    steps: Sequence[int] = (5, 8, 12, 28),
    candidates: int = 16,
    judge: Verifier | None = None,
    seed: int = 0,
    batch_size: int = 8,
    output_dir: str | Path | None = None,
    progress: bool = True,
    **pipeline_kwargs: Any,
) -> Calibration:
    """Measure what a pipeline's candidates are worth by a verifier.

    Args:
        pipe: any pipeline that `NoiseSearch` takes, on whose scheduler x0-hat is known.
        verifier: chooses; it needs a score of its own for each image.
        prompts: some dozens, like those of later searches, but none on which a gain is reported.
        steps: numbers of steps to compare.
        candidates: per prompt, at each number of steps.
        judge: measures the choices.
        seed: of the first candidate, as in `NoiseSearch`.
        batch_size: candidates per call of the pipeline.
        output_dir: for the records, one folder per number of steps; the same call again resumes from them.
        progress: show a bar for each number of steps.
        pipeline_kwargs: of each call, except the steps.

    Raises:
        ValueError: for bad arguments, a candidate that failed, or one of several processes.
    """
    if Shard.of_this_process() is not None:
        raise ValueError("a calibration is measured by one process; start it without torchrun or accelerate launch")
    steps = _check(verifier, steps, candidates, pipeline_kwargs)
    searches = {}
    for number in steps:
        result = NoiseSearch(pipe, verifier, judge=judge)(
            list(prompts),
            num_candidates=candidates,
            seed=seed,
            batch_size=batch_size,
            looks=[Look(verifier)],
            output_dir=None if output_dir is None else Path(output_dir) / f"steps_{number}",
            progress=progress,
            num_inference_steps=number,
            **pipeline_kwargs,
        )
        searches[number] = result.records
    held_out = result.judge
    return Calibration(
        **names(pipe, verifier, pipeline_kwargs),
        judge=held_out,
        prompts=len(prompts),
        steps=measure_steps(searches, verifier.name, held_out),
        previews=tuple(
            row
            for number, records in searches.items()
            for row in measure_previews(records, number, verifier.name, held_out)
        ),
    )


def measure_steps(
    searches: Mapping[int, Sequence[dict[str, Any]]], guide: str, judge: str | None
) -> tuple[StepCount, ...]:
    """Best-of-k by the number of steps.

    Args:
        searches: records of random searches by the number of steps; the same prompts, pools of one size.
        guide: name of the score that chooses.
        judge: name of the score that measures.

    Raises:
        ValueError: where a candidate failed.
    """
    rows = []
    for steps, records in sorted(searches.items()):
        if failed := [record["reason"] for record in records if "reason" in record]:
            raise ValueError(f"{len(failed)} candidates of {steps} steps failed ({failed[0]}); calibrate without them")
        curve = best_of(records, range(1, len(pools(records)[0]) + 1), guide, judge or guide)
        success = tuple(row.success.mean for row in curve) if judge else None
        rows.append(StepCount(steps, records[-1]["nfe"], tuple(row.score.mean for row in curve), success))
    return tuple(rows)


def measure_previews(
    records: Sequence[dict[str, Any]], num_inference_steps: int, guide: str, judge: str | None
) -> tuple[Preview, ...]:
    """What the scores of previews, recorded by `calibrate`, say of the finished images."""
    final = score_table(records, guide)
    judged = None if judge is None else score_table(records, judge)
    rows = []
    for step in range(1, num_inference_steps + 1):
        early = score_table(records, look_name(guide, step))
        chosen = np.arange(len(early)), early.argmax(1)
        success = None if judged is None else float(judged[chosen].mean())
        correlation, score = rank_correlation(early, final), float(final[chosen].mean())
        quantiles = tuple(map(float, np.quantile(early, SHARES)))
        rows.append(Preview(num_inference_steps, step, correlation, score, success, quantiles))
    return tuple(rows)


def rank_correlation(early: np.ndarray, final: np.ndarray) -> float:
    """Spearman's within each prompt's pool, averaged; both are (prompts, candidates).

    Early scores that are all equal say nothing: 0. A pool of equal final scores has no order and is left out.
    """
    ordered = [(a, b) for a, b in zip(early, final, strict=True) if np.ptp(b) > 0]
    correlations = [float(spearmanr(a, b).statistic) if np.ptp(a) > 0 else 0.0 for a, b in ordered]
    return float(np.clip(np.mean(correlations), -1, 1)) if correlations else 0.0


def _check(verifier: Verifier, steps: Sequence[int], candidates: int, arguments: Mapping[str, Any]) -> list[int]:
    if verifier.needs_pool:
        raise ValueError(f"{verifier.name} has no score for one image; calibrate by one verifier or a weighted sum")
    if "num_inference_steps" in arguments:
        raise ValueError("num_inference_steps is what a calibration compares; give steps=")
    if not steps or len(set(steps)) < len(steps) or any(not isinstance(number, int) or number < 1 for number in steps):
        raise ValueError(f"steps are {list(steps)}; give different whole numbers of at least 1")
    if candidates < MIN_CANDIDATES:
        raise ValueError(f"candidates is {candidates}; give at least {MIN_CANDIDATES}")
    return sorted(steps)
