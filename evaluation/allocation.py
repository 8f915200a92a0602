"""Steps or candidates: how to spend a budget of NFEs, read from a calibration of the model.

A calibration is a JSON file:

    {"pipeline": "StableDiffusion3Pipeline", "scheduler": "FlowMatchEulerDiscreteScheduler", "guidance_scale": 3.0,
     "verifier": "emoji-clip", "judge": "emoji-detector", "prompts": 40,
     "steps": [{"num_inference_steps": 8, "nfe": 16, "score": [0.91, 0.93], "success": [0.70, 0.78]}, ...]}

`nfe` is the cost of one candidate of so many steps; `score` is the verifier's mean score of best-of-k for k = 1, 2 and
so on, `success` the judge's of the same choices. `judge` and `success` are null where nothing was judged. Other keys
are for other readers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from .scaling import best_of, pools


@dataclass(frozen=True)
class StepCount:
    """What candidates of one number of steps are worth.

    Attributes:
        num_inference_steps: of the pipeline's call.
        nfe: of one candidate.
        score: the verifier's of best-of-k, for k = 1, 2, ...
        success: the judge's of the same choices; None where there was no judge.
    """

    num_inference_steps: int
    nfe: int
    score: tuple[float, ...]
    success: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Calibration:
    """What a model's candidates are worth by their steps, for the pipeline, scheduler, guidance and verifier named."""

    pipeline: str
    scheduler: str
    guidance_scale: float | None
    verifier: str
    judge: str | None
    prompts: int
    steps: tuple[StepCount, ...]

    @classmethod
    def measure(
        cls, searches: Mapping[int, Sequence[dict[str, Any]]], verifier: str, judge: str | None, **names: Any
    ) -> Calibration:
        """Form a calibration from the records of random searches.

        Args:
            searches: records by the number of steps; the same prompts, pools of one size.
            verifier: name of the score that chooses.
            judge: name of the score that measures.
            names: `pipeline`, `scheduler` and `guidance_scale`.
        """
        rows = []
        for steps, records in sorted(searches.items()):
            by_prompt = pools(records)
            curve = best_of(records, range(1, len(by_prompt[0]) + 1), verifier, judge or verifier)
            success = tuple(row.success.mean for row in curve) if judge else None
            rows.append(StepCount(steps, records[-1]["nfe"], tuple(row.score.mean for row in curve), success))
        return cls(verifier=verifier, judge=judge, prompts=len(by_prompt), steps=tuple(rows), **names)

    @classmethod
    def load(cls, file: str | Path) -> Calibration:
        """Read a JSON file.

        Raises:
            ValueError: where it is missing or no calibration, with one sentence.
        """
        try:
            values = json.loads(Path(file).read_text())
        except FileNotFoundError as error:
            raise ValueError(f"no calibration {file}; name a JSON file that holds one") from error
        except ValueError as error:
            raise ValueError(f"{file} is no JSON; name a calibration") from error
        try:
            rows = tuple(_row(row) for row in values["steps"])
            names = {key: values[key] for key in cls.__annotations__ if key != "steps"}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} is no calibration: {_reason(error)}") from error
        if not rows:
            raise ValueError(f"{file} is no calibration: it has no steps")
        return cls(**names, steps=rows)

    def save(self, file: str | Path) -> None:
        Path(file).write_text(json.dumps(asdict(self), indent=2) + "\n")

    def check(self, **asked: Any) -> None:
        """Refuse to stand for another model.

        Args:
            asked: any of `pipeline`, `scheduler`, `guidance_scale` and `verifier`.

        Raises:
            ValueError: naming the first difference.
        """
        for key, value in asked.items():
            if value != getattr(self, key):
                raise ValueError(
                    f"the calibration is of the {key.replace('_', ' ')} {getattr(self, key)!r}, not {value!r}; "
                    f"calibrate anew"
                )


@dataclass(frozen=True)
class Allocation:
    """How to spend a budget on one prompt.

    Attributes:
        num_inference_steps: of each candidate.
        candidates: how many.
        nfe: what they cost together, at most the budget.
        score: expected score of the chosen one by the verifier.
        success: by the judge; None where there was none.
        beyond: whether there are more candidates than were calibrated; what the additional ones bring is not counted.
    """

    num_inference_steps: int
    candidates: int
    nfe: int
    score: float
    success: float | None
    beyond: bool

    def __str__(self) -> str:
        success = "" if self.success is None else f", success {self.success:.3f}"
        more = ", at least: so many candidates were not calibrated" if self.beyond else ""
        return (
            f"{self.candidates} candidates of {self.num_inference_steps} steps ({self.nfe} NFEs a prompt): "
            f"score {self.score:.3f}{success}{more}"
        )


def best_allocation(calibration: Calibration, budget: int, by: str | None = None) -> Allocation:
    """The number of steps and of candidates with the highest expected outcome; of equals the cheapest.

    Beyond the calibrated candidates a curve is held at its last value, which is the least that a guide's score has
    there: a number of steps wins only by what was measured.

    Args:
        calibration: of the model.
        budget: NFEs a prompt.
        by: "success" or "score"; success where it is known when left out.

    Raises:
        ValueError: for a budget below one candidate, or success that was not measured.
    """
    by = by or ("score" if calibration.judge is None else "success")
    if by not in ("score", "success"):
        raise ValueError(f"allocation by {by!r}; give 'success' or 'score'")
    if by == "success" and calibration.judge is None:
        raise ValueError("the calibration has no judge; allocate by score")
    cheapest = min(calibration.steps, key=lambda row: row.nfe)
    if budget < cheapest.nfe:
        raise ValueError(
            f"a budget of {budget} NFEs is below one candidate, which costs {cheapest.nfe} at "
            f"{cheapest.num_inference_steps} steps; give at least {cheapest.nfe}"
        )
    choices = [
        (getattr(row, by)[k - 1], -k * row.nfe, k, row)
        for row in calibration.steps
        for k in range(1, min(len(row.score), budget // row.nfe) + 1)
    ]
    _, _, k, row = max(choices, key=lambda choice: choice[:2])
    affordable = budget // row.nfe
    candidates = affordable if k == len(row.score) else k
    success = None if row.success is None else row.success[k - 1]
    return Allocation(
        row.num_inference_steps, candidates, candidates * row.nfe, row.score[k - 1], success, candidates > k
    )


def _row(row: dict[str, Any]) -> StepCount:
    score, success = (None if row[key] is None else tuple(map(float, row[key])) for key in ("score", "success"))
    steps, nfe = int(row["num_inference_steps"]), int(row["nfe"])
    if min(steps, nfe) < 1 or not score or not all(map(isfinite, (*score, *(success or ())))):
        raise ValueError("a row of its steps has no positive cost or no finite scores")
    if success is not None and len(success) != len(score):
        raise ValueError(f"at {steps} steps there are {len(score)} scores and {len(success)} successes")
    return StepCount(steps, nfe, score, success)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    return str(error) if type(error) is ValueError else "its steps are not a list of rows"
