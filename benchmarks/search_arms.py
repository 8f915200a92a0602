"""Arms of search_scaling.py that select from recorded pools, and what is read from all arms."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import torch
from samplesmith.evaluation.diversity import diversity
from samplesmith.evaluation.scaling import bootstrap, chance_of_choice
from samplesmith.pipelines.allocation import best_allocation
from samplesmith.pipelines.calibration import Calibration
from samplesmith.verifiers import RankEnsemble

SUBSETS = 200
"""Drawn for a rank ensemble, whose expectation over more than so many has no closed form."""


@dataclass(frozen=True)
class Pool:
    """Candidates of one number of steps.

    Attributes:
        steps: of the pipeline's call.
        nfe, seconds: of one candidate.
        scores: by measure ("score", "success", "aesthetic"), each (prompts, candidates).
        features: (prompts, candidates, dim), normalised.
    """

    steps: int
    nfe: int
    seconds: float
    scores: dict[str, np.ndarray]
    features: np.ndarray

    @property
    def size(self) -> int:
        return self.features.shape[1]


@dataclass(frozen=True)
class Row:
    """An arm at one budget: its cost a prompt, and its measures prompt by prompt."""

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
            name: asdict(bootstrap(values)) if np.isfinite(values).all() else None
            for name, values in self.values.items()
        }
        return found | {"prompts": len(self.prompts)} | estimates


Chooser = Callable[[dict[str, np.ndarray], int], np.ndarray]
"""From one prompt's scores, each (candidates,), and k: the chance of each candidate to be chosen of k."""


def by(name: str) -> Chooser:
    return lambda scores, k: chance_of_choice(scores[name], k)


def by_ranks(ensemble: RankEnsemble, measures: tuple[str, ...]) -> Chooser:
    """Chooses as the ensemble's own `select` does; `measures` are its parts' scores."""

    def chances(scores: dict[str, np.ndarray], k: int) -> np.ndarray:
        rng, count = np.random.default_rng(0), len(scores[measures[0]])
        if comb(count, k) <= SUBSETS:
            subsets = [np.array(subset) for subset in combinations(range(count), k)]
        else:
            subsets = [np.sort(rng.choice(count, k, replace=False)) for _ in range(SUBSETS)]
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
        k: candidates a prompt, at most the pool's.
        budget: NFEs a prompt.
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


def auto_row(pools: dict[int, Pool], calibration: Calibration, budget: int) -> Row:
    found = best_allocation(calibration, budget)
    return select("auto", by("score"), pools[found.num_inference_steps], found.candidates, budget)


def difference(row: Row, rival: Row, measure: str) -> dict[str, float]:
    """Paired, on the row's prompts."""
    return asdict(bootstrap(row.values[measure] - rival.values[measure][row.prompts]))


def compare(rows: list[Row], default_steps: int) -> list[dict[str, Any]]:
    """Each arm against random search for the same budget: at its best number of steps, auto also at the default."""
    found = []
    for row in rows:
        if row.arm in ("random", "oracle"):
            continue
        rivals = [one for one in rows if one.arm == "random" and one.budget == row.budget and one.nfe <= row.budget]
        best = max(rivals, key=lambda one: one.values["score"][row.prompts].mean())
        against = {"best": best}
        if row.arm == "auto":
            against["default"] = next(one for one in rivals if one.steps == default_steps)
        for which, rival in against.items():
            found.append(
                {
                    "arm": row.arm,
                    "steps": row.steps,
                    "budget": row.budget,
                    "against random search at its": f"{which} steps",
                    "rival steps": rival.steps,
                    "score": difference(row, rival, "score"),
                    "success": difference(row, rival, "success"),
                }
            )
    return found


def cheapest_auto(pools: dict[int, Pool], calibration: Calibration, rival: Row) -> dict[str, Any] | None:
    """The smallest budget at which auto reaches a rival's guided score; None where none up to the rival's does."""
    least = min(row.nfe for row in calibration.steps)
    for budget in range(least, rival.budget + 1, least):
        row = auto_row(pools, calibration, budget)
        if row.values["score"].mean() >= rival.values["score"].mean():
            return {
                "budget": budget,
                "steps": row.steps,
                "candidates": row.candidates,
                "share of NFEs": row.nfe / rival.nfe,
                "share of seconds": row.seconds / rival.seconds,
                "score": difference(row, rival, "score"),
                "success": difference(row, rival, "success"),
            }
    return None


def share_of_oracle(pools: list[Pool], choosers: dict[str, Chooser], k: int) -> dict[str, float]:
    """What part of the oracle's gain over best-of-1 each guide has at k candidates."""
    found = {}
    for pool in (pool for pool in pools if pool.size >= k):
        success = {arm: select(arm, chooser, pool, k, 0).values["success"].mean() for arm, chooser in choosers.items()}
        first = pool.scores["success"].mean()
        room = success.pop("oracle") - first
        if room > 0:
            found |= {f"{arm}, {pool.steps} steps": float((one - first) / room) for arm, one in success.items()}
    return found
