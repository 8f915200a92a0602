"""What a model's candidates are worth by their steps: a file that is measured once and read by planning and searches.

A calibration is a JSON file:

    {"pipeline": "StableDiffusion3Pipeline", "scheduler": "FlowMatchEulerDiscreteScheduler", "guidance_scale": 3.0,
     "verifier": "emoji-clip", "judge": "emoji-detector", "prompts": 40,
     "steps": [{"num_inference_steps": 8, "nfe": 16, "score": [0.91, 0.93], "success": [0.70, 0.78]}, ...],
     "previews": [{"num_inference_steps": 28, "step": 9, "rank_correlation": 0.4, "score": 0.92, "success": 0.7,
                   "quantiles": [0.1, 0.6, 0.9]}, ...]}

`nfe` is the cost of one candidate of so many steps; `score` is the verifier's mean score of best-of-k for k = 1, 2 and
so on, `success` the judge's of the same choices. `judge` and `success` are null where nothing was judged. `previews`
and their `quantiles` may be left out. Other keys are for other readers.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import ceil, isfinite
from pathlib import Path
from typing import Any

from ...valid_json import to_json


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
class Preview:
    """What the clean prediction of an early step says of the finished image.

    Attributes:
        num_inference_steps: of the run.
        step: how many of its steps were made, from 1 to all.
        rank_correlation: Spearman's, of the verifier's scores of preview and finished image in one prompt's pool; the
            mean over prompts.
        score: the verifier's of the finished candidate whose preview scored highest.
        success: the judge's of the same choices; None where there was no judge.
        quantiles: of the previews' scores over all prompts and candidates, at even shares from the lowest to the
            highest; None where they were not measured.
    """

    num_inference_steps: int
    step: int
    rank_correlation: float
    score: float
    success: float | None = None
    quantiles: tuple[float, ...] | None = None


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
    previews: tuple[Preview, ...] = ()

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
            rows = tuple(_step_count(row) for row in values["steps"])
            previews = tuple(_preview(row) for row in values.get("previews", ()))
            names = {key: values[key] for key in cls.__annotations__ if key not in ("steps", "previews")}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{file} is no calibration: {_reason(error)}") from error
        if not rows:
            raise ValueError(f"{file} is no calibration: it has no steps")
        return cls(**names, steps=rows, previews=previews)

    def save(self, file: str | Path) -> None:
        Path(file).write_text(self.to_json() + "\n")

    def to_json(self) -> str:
        """The text of its file."""
        return to_json(asdict(self), indent=2)

    def check(self, **expected: Any) -> None:
        """Refuse a model, a call or a verifier that this is no calibration of.

        Args:
            expected: any of `pipeline`, `scheduler`, `guidance_scale` and `verifier`.

        Raises:
            ValueError: naming the first difference.
        """
        for key, value in expected.items():
            if value != getattr(self, key):
                raise ValueError(
                    f"the calibration is of the {key.replace('_', ' ')} {getattr(self, key)!r}, not {value!r}; "
                    f"calibrate anew"
                )

    def correlations(self, num_inference_steps: int) -> dict[int, float] | None:
        """Rank correlation of previews by the steps made, in a run of so many; None where they were not measured."""
        return self._correlations(num_inference_steps) or None

    def _correlations(self, num_inference_steps: int) -> dict[int, float]:
        rows = [row for row in self.previews if row.num_inference_steps == num_inference_steps]
        return {row.step: row.rank_correlation for row in rows}

    def early_correlations(self, num_inference_steps: int) -> dict[int, float]:
        """Rank correlation of previews with finished images, by the steps made in a run of so many.

        Where runs of another length were calibrated, the nearest is read by the share of the run.

        Raises:
            ValueError: for a calibration without previews.
        """
        nearest = self._nearest(num_inference_steps)
        known = sorted(self._correlations(nearest).items())
        return {ceil(step * num_inference_steps / nearest): value for step, value in known}

    def early_quantiles(self, num_inference_steps: int) -> dict[int, tuple[float, ...]] | None:
        """Quantiles of previews' scores by the steps made in a run of so many; None where they were not measured.

        Where runs of another length were calibrated, the nearest is read by the share of the run.

        Raises:
            ValueError: for a calibration without previews.
        """
        nearest = self._nearest(num_inference_steps)
        rows = sorted((row for row in self.previews if row.num_inference_steps == nearest), key=lambda row: row.step)
        known = {ceil(row.step * num_inference_steps / nearest): row.quantiles for row in rows if row.quantiles}
        return known or None

    def _nearest(self, num_inference_steps: int) -> int:
        """The nearest length of runs whose previews were measured."""
        lengths = {row.num_inference_steps for row in self.previews}
        if not lengths:
            raise ValueError(
                "the calibration has no previews, by which early scores are judged; calibrate anew, or leave it out"
            )
        return min(lengths, key=lambda length: (abs(length - num_inference_steps), length))


def _step_count(row: dict[str, Any]) -> StepCount:
    score, success = (None if row[key] is None else tuple(map(float, row[key])) for key in ("score", "success"))
    steps, nfe = int(row["num_inference_steps"]), int(row["nfe"])
    if min(steps, nfe) < 1 or not score or not all(map(isfinite, (*score, *(success or ())))):
        raise ValueError("a row of its steps has no positive cost or no finite scores")
    if success is not None and len(success) != len(score):
        raise ValueError(f"at {steps} steps there are {len(score)} scores and {len(success)} successes")
    return StepCount(steps, nfe, score, success)


def _preview(row: dict[str, Any]) -> Preview:
    steps, step = int(row["num_inference_steps"]), int(row["step"])
    success = None if row["success"] is None else float(row["success"])
    correlation, score = float(row["rank_correlation"]), float(row["score"])
    if not 1 <= step <= steps or not -1 <= correlation <= 1 or not isfinite(score):
        raise ValueError(f"a preview has step {step} of {steps}, correlation {correlation:g} and score {score:g}")
    quantiles = tuple(map(float, row.get("quantiles") or ()))
    if len(quantiles) == 1 or list(quantiles) != sorted(quantiles) or not all(map(isfinite, quantiles)):
        raise ValueError(f"quantiles of a preview are {list(quantiles)}; give two rising numbers or more, or none")
    return Preview(steps, step, correlation, score, success, quantiles or None)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]!r}"
    return str(error) if type(error) is ValueError else "its steps or previews are not lists of rows"
