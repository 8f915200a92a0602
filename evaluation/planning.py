"""How many samples a success rate takes, and when more samples stop helping: from the records of one search."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from .comparison import Estimate, resampled_means
from .power_law import PowerLaw, fit_power_law
from .scaling import chance_of_choice, pools

MIN_PROMPTS = 8
MIN_CANDIDATES = 4
NOTHING = 0.01
"""A gain in success of at most this is nothing."""


@dataclass(frozen=True)
class Samples:
    """A number of samples per prompt and its 95 % bootstrap interval; inf is out of reach.

    Attributes:
        reached: share of the resampled sets of prompts in which it is within reach.
    """

    number: float
    low: float
    high: float
    reached: float

    def __str__(self) -> str:
        return f"{_count(self.number)} [{_count(self.low)}, {_count(self.high)}]"


@dataclass(frozen=True)
class Point:
    """Expected success of best-of-k: chosen by the guide, and by an oracle that misses no success."""

    k: int
    guided: Estimate
    oracle: Estimate


@dataclass(frozen=True)
class BudgetPlan:
    """What a search's records say about larger and smaller searches.

    Attributes:
        guide: name of the score that chooses.
        judge: name of the score that measures.
        target: the success to reach.
        prompts: in the records.
        candidates: per prompt, in the records; beyond them the laws extrapolate.
        nfe: of one candidate, the mean.
        points: best-of-k of the records, by expectation over subsets.
        guided_law: fitted to the guide's curve, with a ceiling; the oracle's where the guide misses no success.
        oracle_law: fitted to the oracle's curve (pass@k), whose ceiling is 1.
        guided: samples to reach the target where the guide chooses.
        oracle: where an oracle chooses.
        ceiling: success under the guide as samples grow.
        enough: samples beyond which the guide gains at most `NOTHING`; with an interval that ends out of reach the
            records are too small to show the ceiling.
        fall: success at the guided curve's peak less that at all candidates; above 0 the guide is overoptimised.
    """

    guide: str
    judge: str
    target: float
    prompts: int
    candidates: int
    nfe: float
    points: tuple[Point, ...]
    guided_law: PowerLaw
    oracle_law: PowerLaw
    guided: Samples
    oracle: Samples
    ceiling: Estimate
    enough: Samples
    fall: Estimate

    @property
    def peak(self) -> Point:
        """Where the guided curve of the records is highest."""
        return max(self.points, key=lambda point: point.guided.mean)

    def __str__(self) -> str:
        return f"{self._needed()} {self._gained()}"

    def _needed(self) -> str:
        target = f"{self.target:.0%} of prompts"
        oracle = f"an oracle needs {self.oracle}" if isfinite(self.oracle.number) else "so it is for an oracle"
        if not isfinite(self.guided.number):
            within = f" (within reach in {self.guided.reached:.0%} of the resamples)" if self.guided.reached else ""
            return f"{target} is out of reach with {self.guide}{within}; {oracle}."
        number = self.guided.number
        beyond = f", beyond the {self.candidates} recorded" if number > self.candidates else ""
        cost = f"{_count(number * self.nfe)} NFEs per prompt{beyond}"
        return f"To reach {target}, {self.guide} needs about {self.guided} samples ({cost}); {oracle}."

    def _gained(self) -> str:
        ceiling = f"{self.ceiling.mean:.0%} [{self.ceiling.low:.0%}, {self.ceiling.high:.0%}]"
        if self.fall.low > 0:
            return (
                f"Beyond {self.peak.k} samples it loses: success falls by {self.fall} from there to {self.candidates}."
            )
        if self.ceiling.low == 1:
            return "It misses no success of the records, so more samples go on helping."
        if not isfinite(self.enough.high):
            return (
                f"The {self.candidates} candidates recorded do not show where this guide stops gaining (its ceiling is "
                f"{ceiling}); record more to find it."
            )
        return f"Beyond about {self.enough} samples nothing is gained with this guide: its ceiling is {ceiling}."

    def as_dict(self) -> dict[str, Any]:
        """JSON values; what is out of reach is null."""
        return _plain(asdict(self)) | {"peak": self.peak.k, "summary": str(self)}


def plan_budget(
    records: Sequence[dict[str, Any]],
    guide: str,
    judge: str,
    target: float = 0.8,
    success_at: float = 1.0,
    repeats: int = 2000,
    seed: int = 0,
) -> BudgetPlan:
    """Fit success against the number of samples and read the budget from it.

    Within the recorded pools best-of-k is the exact expectation over their subsets; beyond them the fitted law
    extrapolates. Intervals resample prompts, and everything is fitted again to each set of prompts.

    Args:
        records: of a random search, with pools of one size.
        guide: name of the score that chooses; may be the judge's, then the guide is the oracle.
        judge: name of the score that measures.
        target: mean success over the prompts, between 0 and 1.
        success_at: the judge's score from which a candidate is right.
        repeats: resampled sets of prompts.
        seed: of the resampling.

    Raises:
        ValueError: where the records cannot tell: no such score, too few, unequal pools, dependent candidates, or no
            success at all.
    """
    if not 0 < target < 1:
        raise ValueError(f"the target is {target:g}; give a share of the prompts between 0 and 1, such as 0.8")
    by_prompt = pools(records)
    _check(by_prompt)
    scores, judged = (_column(by_prompt, name) for name in (guide, judge))
    right = (judged >= success_at).astype(float)
    if not right.any():
        raise ValueError(
            f"no candidate is right: the highest score of {judge} is {judged.max():g}, success starts at "
            f"{success_at:g}; record more candidates or lower what counts as success"
        )

    ks = _ks(right.shape[1])
    guided = np.stack([(_chances(scores, k) * right).sum(1) for k in ks], 1)
    oracle = np.stack([(_chances(right, k) * right).sum(1) for k in ks], 1)
    guided, oracle = _with_resamples(guided, oracle, repeats, seed)
    oracle_law = fit_power_law(ks, oracle, with_ceiling=False)
    # A guide that missed no success in any pool is an oracle as far as the records can tell.
    perfect = np.allclose(guided[0], oracle[0])
    guided_law = oracle_law if perfect else fit_power_law(ks, guided, with_ceiling=True)
    to_oracle = _needed(ks, oracle, oracle_law, target)
    to_guided = np.maximum(_needed(ks, guided, guided_law, target), to_oracle)  # no guide beats an oracle
    peak = guided[0].argmax()
    return BudgetPlan(
        guide=guide,
        judge=judge,
        target=target,
        prompts=len(right),
        candidates=right.shape[1],
        nfe=float(np.mean([record["nfe"] for record in records])),
        points=tuple(Point(int(k), _estimate(guided[:, j]), _estimate(oracle[:, j])) for j, k in enumerate(ks)),
        guided_law=guided_law[0],
        oracle_law=oracle_law[0],
        guided=_samples(to_guided),
        oracle=_samples(to_oracle),
        ceiling=_estimate(guided_law.ceiling),
        enough=_samples(guided_law.samples(guided_law.ceiling - NOTHING)),
        fall=_estimate(guided[:, peak] - guided[:, -1]),
    )


def _check(by_prompt: list[list[dict[str, Any]]]) -> None:
    sizes = [len(pool) for pool in by_prompt]
    if len(sizes) < MIN_PROMPTS:
        raise ValueError(f"the records hold {len(sizes)} prompts; a plan needs at least {MIN_PROMPTS}")
    if min(sizes) != max(sizes):
        raise ValueError(
            f"the records hold between {min(sizes)} and {max(sizes)} candidates per prompt; a plan needs equal "
            f"numbers: finish the search, or search without stop_at"
        )
    if min(sizes) < MIN_CANDIDATES:
        raise ValueError(f"the records hold {min(sizes)} candidates per prompt; a plan needs at least {MIN_CANDIDATES}")
    strategies = {record.get("strategy", "random") for pool in by_prompt for record in pool}
    if other := sorted(strategies - {"random"}):
        raise ValueError(
            f"the records are of the strategy {other[0]!r}, whose candidates depend on each other; plan from a random "
            f"search"
        )


def _column(by_prompt: list[list[dict[str, Any]]], name: str) -> np.ndarray:
    """One score of all candidates, (prompts, candidates); a candidate without it has the lowest."""
    known = {key for pool in by_prompt for record in pool for key in record["scores"]}
    if name not in known:
        raise ValueError(f"the records hold no score {name!r}; they hold {', '.join(sorted(known)) or 'none'}")
    values = np.array([[record["scores"].get(name) for record in pool] for pool in by_prompt], float)  # None is NaN
    if (lacking := int(np.isnan(values).sum())) == values.size:
        raise ValueError(f"none of the records has a score of {name!r}")
    if lacking:
        warnings.warn(
            f"{lacking} of {values.size} candidates have no score of {name}; they count as the worst", stacklevel=3
        )
    return np.where(np.isnan(values), -np.inf, values)


def _ks(size: int, most: int = 64) -> np.ndarray:
    """Every k of a pool; of a large pool, values of k that are evenly spaced in log k."""
    return np.unique(np.geomspace(1, size, most).round().astype(int)) if size > most else np.arange(1, size + 1)


def _chances(values: np.ndarray, k: int) -> np.ndarray:
    return np.stack([chance_of_choice(row, int(k)) for row in values])


def _with_resamples(guided: np.ndarray, oracle: np.ndarray, repeats: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean curves (1 + repeats, points) of curves (prompts, points): of all prompts, then of resampled sets of them."""
    both = np.concatenate([guided, oracle], 1)
    means = np.concatenate([both.mean(0, keepdims=True), resampled_means(both, repeats, seed)])
    return means[:, : guided.shape[1]], means[:, guided.shape[1] :]


def _needed(ks: np.ndarray, curves: np.ndarray, law: PowerLaw, target: float) -> np.ndarray:
    """Smallest k that reaches the target for each curve: as measured within the pools, by the law beyond them."""
    reached = curves >= target - 1e-12
    return np.where(reached.any(1), ks[reached.argmax(1)], np.maximum(law.samples(target), ks[-1] + 1))


def _estimate(values: np.ndarray) -> Estimate:
    """Estimate from the value of the whole set, which comes first, and those of its resamples."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return Estimate(float(values[0]), float(low), float(high))


def _samples(numbers: np.ndarray) -> Samples:
    low, high = np.quantile(numbers[1:], [0.025, 0.975], method="inverted_cdf")
    return Samples(float(numbers[0]), float(low), float(high), float(np.isfinite(numbers[1:]).mean()))


def _count(number: float) -> str:
    """Two digits of what is extrapolated far."""
    if not isfinite(number):
        return "out of reach"
    return f"{number:,.0f}" if number < 100 else f"{float(f'{number:.2g}'):,.0f}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.item()
    return None if isinstance(value, float) and not isfinite(value) else value
