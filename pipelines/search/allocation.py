"""Steps or candidates: how to spend a budget of NFEs, read from a calibration of the model."""

from __future__ import annotations

from dataclasses import dataclass

from .calibration import Calibration


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
        more = ", at least: the calibration has no pools of so many candidates" if self.beyond else ""
        return (
            f"{self.candidates} candidates of {self.num_inference_steps} steps ({self.nfe} NFEs per prompt): "
            f"score {self.score:.3f}{success}{more}"
        )


def best_allocation(calibration: Calibration, budget: int, by: str | None = None) -> Allocation:
    """The number of steps and of candidates with the highest expected outcome; of equals the cheapest.

    Beyond the calibrated candidates a curve is held at its last value, a lower bound of a guide's score there: a number
    of steps wins only by what was measured.

    Args:
        calibration: of the model.
        budget: NFEs per prompt.
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
