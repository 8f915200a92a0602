"""Arms of search_scaling.py that select from recorded pools, and what is read from all arms."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import torch
from samplesmith.evaluation.comparison import bootstrap_mean, paired_difference
from samplesmith.evaluation.diversity import diversity
from samplesmith.evaluation.scaling import chance_of_choice
from samplesmith.pipelines.search.allocation import best_allocation
from samplesmith.pipelines.search.calibration import Calibration
from samplesmith.samplers.strategies import Halving
from samplesmith.verifiers import RankEnsemble

SUBSETS = 200
"""Subsets that are drawn for rank ensembles and halving, whose expectations have no closed form."""


@dataclass(frozen=True)
class Pool:
    """Candidates of one number of steps.

    Attributes:
        steps: of the pipeline's call.
        nfe, seconds: of one candidate.
        scores: by measure, each (prompts, candidates): "score", "preview" and "aesthetic" of the guides, "success" of
            the judge, and "score at 4" of the clean prediction after step 4.
        features: (prompts, candidates, dim), normalised.
        look_seconds: of decoding and scoring one clean prediction.
    """

    steps: int
    nfe: int
    seconds: float
    scores: dict[str, np.ndarray]
    features: np.ndarray
    look_seconds: float = 0.0

    @property
    def size(self) -> int:
        return self.features.shape[1]


@dataclass(frozen=True)
class Row:
    """An arm at one budget: its cost per prompt, and its measures for each prompt."""

    arm: str
    steps: int
    budget: int
    candidates: float
    nfe: float
    seconds: float
    prompts: np.ndarray
    values: dict[str, np.ndarray]

    def as_dict(self) -> dict[str, Any]:
        found = {key: value for key, value in vars(self).items() if key not in ("prompts", "values")}
        estimates = {
            name: asdict(bootstrap_mean(values)) if np.isfinite(values).all() else None
            for name, values in self.values.items()
        }
        return found | {"prompts": len(self.prompts)} | estimates


Chooser = Callable[[dict[str, np.ndarray], int], np.ndarray]
"""From the scores of one prompt, each (candidates,), and k: the chance that each candidate is chosen from k."""


def by(name: str) -> Chooser:
    return lambda scores, k: chance_of_choice(scores[name], k)


@cache
def _subsets(count: int, k: int) -> np.ndarray:
    """All subsets of size k in order, or `SUBSETS` random ones; (subsets, k)."""
    if comb(count, k) <= SUBSETS:
        return np.array(list(combinations(range(count), k)))
    rng = np.random.default_rng(0)
    return np.stack([np.sort(rng.choice(count, k, replace=False)) for _ in range(SUBSETS)])


def by_halving(halving: Halving, early: str, final: str) -> Chooser:
    """Chooses as a bracket with one early look does: the best of the candidates with the best early scores."""

    def chances(scores: dict[str, np.ndarray], k: int) -> np.ndarray:
        subsets = _subsets(len(scores[final]), k)
        ranked = np.take_along_axis(subsets, np.argsort(-scores[early][subsets], 1, kind="stable"), 1)
        racing = ranked[:, : halving.survivors(k)]
        best = racing[np.arange(len(racing)), scores[final][racing].argmax(1)]
        return np.bincount(best, minlength=len(scores[final])) / len(subsets)

    return chances


def by_ranks(ensemble: RankEnsemble, measures: tuple[str, ...]) -> Chooser:
    """Chooses as the ensemble's own `select` does; `measures` are its parts' scores."""

    def chances(scores: dict[str, np.ndarray], k: int) -> np.ndarray:
        count = len(scores[measures[0]])
        subsets = _subsets(count, k)
        found = np.zeros(count)
        for subset in subsets:
            columns = {
                part.name: torch.from_numpy(scores[measure][subset])
                for part, measure in zip(ensemble.parts, measures, strict=True)
            }
            found[subset[int(ensemble.select(columns).argmax())]] += 1 / len(subsets)
        return found

    return chances


def select(arm: str, chooser: Chooser, seen: Pool, k: int, budget: int, made: Pool | None = None) -> Row:
    """A row of an arm that selects from pools.

    Args:
        arm: its name.
        chooser: of candidates.
        seen: what it chooses from.
        k: candidates per prompt, at most the size of the pool.
        budget: NFEs per prompt.
        made: the pool that holds the chosen candidates as they come out, where they are made again.
    """
    outcome = seen if made is None else made
    size = min(seen.size, outcome.size)
    k = min(k, size)
    chances = np.stack(
        [chooser({m: v[i, :size] for m, v in seen.scores.items()}, k) for i in range(len(seen.features))]
    )
    values = {measure: (chances * scores[:, :size]).sum(1) for measure, scores in outcome.scores.items()}
    values["diversity"] = np.full(len(chances), np.nan)
    half = size // 2
    if k <= half:  # two searches that share no candidate
        parts = (slice(0, half), slice(half, 2 * half))
        for i in range(len(chances)):
            expected = [
                chooser({m: v[i, part] for m, v in seen.scores.items()}, k) @ outcome.features[i, part]
                for part in parts
            ]
            values["diversity"][i] = diversity(np.stack(expected))
    again = (0, 0.0) if made is None else (made.nfe, made.seconds)
    nfe, seconds = k * seen.nfe + again[0], k * seen.seconds + again[1]
    return Row(arm, outcome.steps, budget, k, nfe, seconds, np.arange(len(chances)), values)


def auto_row(arm: str, pools: dict[int, Pool], calibration: Calibration, guide: str, budget: int) -> Row:
    """Best-of-k with the steps and candidates that are best by the calibration of this guide."""
    found = best_allocation(calibration, budget)
    return select(arm, by(guide), pools[found.num_inference_steps], found.candidates, budget)


def halving_row(
    arm: str, halving: Halving, pool: Pool, guide: str, budget: int, seconds_of: Callable[[int], float]
) -> Row | None:
    """A row of halving with one early look; None where the budget is below one candidate.

    Args:
        arm: its name.
        halving: with the one look that its rungs say.
        pool: with the guide's scores at the look.
        guide: "score" or "preview".
        budget: NFEs per prompt.
        seconds_of: a candidate of so many steps, its decode and its scores.
    """
    look, steps = halving.ends(pool.steps)
    first = pool.nfe * look // steps
    count = min(halving.affordable(budget, [first, pool.nfe - first]), pool.size)
    if not count:
        return None
    row = select(arm, by_halving(halving, f"{guide} at {look}", guide), pool, count, budget)
    kept = halving.survivors(count)
    a_step = (seconds_of(steps) - seconds_of(1)) / (steps - 1)
    seconds = count * (look * a_step + pool.look_seconds) + kept * seconds_of(steps - look)
    return replace(row, nfe=halving.price(count, [first, pool.nfe - first]), seconds=seconds)


def auto_halving_row(
    arm: str,
    pools: dict[int, Pool],
    calibration: Calibration,
    halvings: dict[int, Halving],
    guide: str,
    budget: int,
    seconds_of: Callable[[int], float],
) -> Row:
    """Halving at the steps that auto chooses, for what auto would spend; auto's row where no early step is useful."""
    found = best_allocation(calibration, budget)
    steps, halving = found.num_inference_steps, halvings.get(found.num_inference_steps)
    row = halving and halving_row(arm, halving, pools[steps], guide, found.nfe, seconds_of)
    return replace(row or auto_row(arm, pools, calibration, guide, budget), budget=budget)


def difference(row: Row, rival: Row, measure: str) -> dict[str, float]:
    """Paired difference of two rows, on the prompts of the first."""
    return asdict(paired_difference(row.values[measure], rival.values[measure][row.prompts]))


def plain_rival(arm: str) -> tuple[str, str]:
    """The arm of random search by the same guide, and that guide's measure."""
    return ("preview", "preview") if arm.endswith("preview") else ("random", "score")


def compare(rows: list[Row], default_steps: int) -> list[dict[str, Any]]:
    """Each arm against random search with the same budget and guide, at the best number of steps of random search.

    Planned arms are also compared with random search at the default steps.
    """
    found = []
    for row in rows:
        if row.arm in ("random", "preview", "oracle"):
            continue
        plain, measure = plain_rival(row.arm)
        rivals = [one for one in rows if one.arm == plain and one.budget == row.budget and one.nfe <= row.budget]
        best = max(rivals, key=lambda one: one.values[measure][row.prompts].mean())
        against = {"best": best}
        if row.arm.startswith("auto"):
            against["default"] = next(one for one in rivals if one.steps == default_steps)
        for which, rival in against.items():
            found.append(
                {
                    "arm": row.arm,
                    "steps": row.steps,
                    "budget": row.budget,
                    "against": f"{plain} at its {which} steps",
                    "rival steps": rival.steps,
                    "score": difference(row, rival, measure),
                    "success": difference(row, rival, "success"),
                }
            )
    return found


def cheapest(
    row_of: Callable[[int], Row | None], budgets: Iterable[int], rival: Row, guide: str
) -> dict[str, Any] | None:
    """The smallest budget at which an arm reaches a rival's score by their guide; None where no budget does."""
    for budget in budgets:
        row = row_of(budget)
        if row is not None and row.values[guide].mean() >= rival.values[guide].mean():
            return {
                "budget": budget,
                "steps": row.steps,
                "candidates": row.candidates,
                "share of NFEs": row.nfe / rival.nfe,
                "share of seconds": row.seconds / rival.seconds,
                "score": difference(row, rival, guide),
                "success": difference(row, rival, "success"),
            }
    return None


def share_of_oracle(pools: list[Pool], choosers: dict[str, Chooser], k: int) -> dict[str, float]:
    """The share of the oracle's gain over best-of-1 that each guide reaches with k candidates."""
    found = {}
    for pool in (pool for pool in pools if pool.size >= k):
        success = {arm: select(arm, chooser, pool, k, 0).values["success"].mean() for arm, chooser in choosers.items()}
        first = pool.scores["success"].mean()
        room = success.pop("oracle") - first
        if room > 0:
            found |= {f"{arm}, {pool.steps} steps": float((one - first) / room) for arm, one in success.items()}
    return found
