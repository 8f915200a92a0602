"""What a search will cost, from the model's calibration and from the last search on this machine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....pipelines.search.job import AUTO, SearchJob
from ..library import import_library
from ..models import IN_HAND, Models


@dataclass(frozen=True)
class Cost:
    """NFEs of one candidate and of all, and seconds; None where they are not known yet."""

    candidate: int | None
    nfe: int | None
    seconds: float | None


@dataclass(frozen=True)
class _Last:
    guided: bool
    steps: int
    nfe: int
    seconds_per_nfe: float


class CostEstimate:
    """Remembers what searches cost, by model."""

    def __init__(self, models: Models):
        self.models = models
        self._last: dict[str | None, _Last] = {}
        self._lock = threading.Lock()

    def remember(self, job: SearchJob, candidate: int, ledger: Mapping[str, Any]) -> None:
        """Take a finished search into account.

        Args:
            job: the search.
            candidate: NFEs of one whole candidate.
            ledger: the search's own.
        """
        steps = self.steps(job)
        if steps is None or not ledger["nfe"] or not ledger["seconds"]:
            return
        with self._lock:
            self._last[job.model] = _Last(_guided(job), steps, candidate, ledger["seconds"] / ledger["nfe"])

    def of(self, job: SearchJob) -> Cost:
        """What a search will cost."""
        with self._lock:
            last = self._last.get(job.model)
        candidate = self.candidate(job)
        if candidate is None or job.candidates is None:
            return Cost(None, None, None)
        nfe = candidate * job.candidates
        return Cost(candidate, nfe, None if last is None else nfe * last.seconds_per_nfe)

    def candidate(self, job: SearchJob) -> int | None:
        """NFEs of one whole candidate: as the calibration counted them, else as the last search did."""
        steps = self.steps(job)
        with self._lock:
            last = self._last.get(job.model)
        if steps is None:
            return None
        if (counted := self._calibrated(job, steps)) is not None:
            return counted
        if last is None or last.guided != _guided(job):
            return None
        return last.nfe if steps == last.steps else round(last.nfe * steps / last.steps)

    def _calibrated(self, job: SearchJob, steps: int) -> int | None:
        if job.model is None or not self.models.has_calibration(job.model):
            return None
        import_library()
        from ....pipelines.search.calibration import Calibration

        file = self.models.calibration(job.model, job.guides[0])
        if file is None:
            return None
        calibration = Calibration.load(file)
        guidance = job.call_arguments.get("guidance_scale")
        if (calibration.guidance_scale or 0) > 1 and (guidance is None or guidance <= 1):
            return None
        return next((row.nfe for row in calibration.steps if row.num_inference_steps == steps), None)

    def steps(self, job: SearchJob) -> int | None:
        """Steps of a whole candidate: "auto" counts the budget in the model's default ones."""
        given = None if job.steps == AUTO else job.steps
        return given or self.models.default_steps(job.model or IN_HAND)


def _guided(job: SearchJob) -> bool:
    guidance = job.call_arguments.get("guidance_scale")
    return guidance is not None and guidance > 1
