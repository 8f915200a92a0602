"""What a search gains with its budget: best-of-k of recorded pools, guided and by an oracle, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import comb
from typing import Any

import numpy as np

from .comparison import Estimate, bootstrap_mean, paired_difference


@dataclass(frozen=True)
class BestOf:
    """Best-of-k over a set of prompts.

    Attributes:
        k: candidates per prompt.
        score: of the candidate that the guide chooses.
        success: the judge's score of that candidate.
        oracle: the judge's score where the judge itself chooses.
        gain: success above best-of-1.
    """

    k: int
    score: Estimate
    success: Estimate
    oracle: Estimate
    gain: Estimate


def chance_of_choice(values: np.ndarray, k: int) -> np.ndarray:
    """Chance that each candidate of a pool is the best of k drawn without replacement; (pool,), sums to 1.

    Of a pool of n in ascending order, candidate r (from 0) wins C(r, k - 1) of the C(n, k) draws. The first of equals
    wins, as in a search.
    """
    n = len(values)
    if not 1 <= k <= n:
        raise ValueError(f"best-of-{k} of a pool of {n}; k must lie in 1 to {n}")
    order = np.lexsort((-np.arange(n), values))
    chances = np.zeros(n)
    chances[order] = _chances_by_rank(n, k)
    return chances


@cache
def _chances_by_rank(n: int, k: int) -> list[float]:
    return [comb(rank, k - 1) / comb(n, k) for rank in range(n)]


def pools(records: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Records by prompt, in their order."""
    by_prompt: dict[int, list[dict[str, Any]]] = {}
    for record in records:
        by_prompt.setdefault(record["prompt_index"], []).append(record)
    return list(by_prompt.values())


def check_whole(records: Sequence[dict[str, Any]], name: str) -> None:
    """Make sure that every candidate has a score.

    Raises:
        ValueError: where one has none, with its reason.
    """
    if lacking := [record for record in records if record["scores"].get(name) is None]:
        first = lacking[0]
        reason = first.get("missing", {}).get(name) or first.get("reason") or "it was not measured"
        raise ValueError(f"{len(lacking)} of {len(records)} candidates have no score of {name} ({reason})")


def score_table(records: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """One score of pools of one size, (prompts, candidates).

    Raises:
        ValueError: where a candidate has none.
    """
    check_whole(records, name)
    return np.array([[record["scores"][name] for record in pool] for pool in pools(records)], float)


def best_of(records: Sequence[dict[str, Any]], ks: Sequence[int], guide: str, judge: str) -> list[BestOf]:
    """Best-of-k by expectation over the subsets of each prompt's pool.

    Args:
        records: of a random search with a judge; pools of one size.
        ks: numbers of candidates, each at most the size of a pool.
        guide: name of the score that chooses.
        judge: name of the score that measures.

    Raises:
        ValueError: where a candidate has no such score.
    """
    scores, judged = score_table(records, guide), score_table(records, judge)
    by_k = {}
    for k in (1, *ks):
        chosen = np.stack([chance_of_choice(row, k) for row in scores])
        chosen_by_judge = np.stack([chance_of_choice(row, k) for row in judged])
        parts = ((chosen, scores), (chosen, judged), (chosen_by_judge, judged))
        by_k[k] = [(chance * value).sum(1) for chance, value in parts]
    first = by_k[1][1]
    rows = []
    for k in ks:
        score, success, oracle = map(bootstrap_mean, by_k[k])
        rows.append(BestOf(k, score, success, oracle, gain=paired_difference(by_k[k][1], first)))
    return rows


def ranking_accuracy(records: Sequence[dict[str, Any]], guide: str, judge: str) -> float:
    """How often the guide scores a right candidate above a wrong one of the same prompt; 0.5 is chance.

    The area under the ROC curve within each prompt, averaged over the prompts that have both; NaN where none has.

    Raises:
        ValueError: where a candidate has no such score.
    """
    for name in (guide, judge):
        check_whole(records, name)
    accuracies = []
    for pool in pools(records):
        right = np.array([r["scores"][guide] for r in pool if r["scores"][judge] >= 1])
        wrong = np.array([r["scores"][guide] for r in pool if r["scores"][judge] < 1])
        if len(right) and len(wrong):
            difference = right[:, None] - wrong[None]
            accuracies.append(float((difference > 0).mean() + 0.5 * (difference == 0).mean()))
    return float(np.mean(accuracies)) if accuracies else float("nan")
