"""A student beside its teacher on the same noises, and its best of N in the teacher's time, as work of the page."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..draws import Draw
from ..judged import Sight, sights
from ..line import Turn
from ..model_calls import before_calls
from ..pictures import save_pictures
from ..studio import Studio
from .request import OneStepRequest, Setting

if TYPE_CHECKING:
    from ....pipelines import BatchReport, SearchResult
    from ....verifiers import Verifier

APART = 0.5
"""Seconds between two news of one call: the page's own work is not to be in what is measured."""

SLACK = 1.1
"""Times the teacher's seconds the search may take: one that has become slower, as on a busy machine, ends before."""


@dataclass(frozen=True)
class CallMade:
    """A model call was made.

    Attributes:
        says: of what.
        call: of this part of the run, from 1.
        share: of the run that is done.
    """

    says: str
    call: int
    share: float


@dataclass(frozen=True)
class Drawn:
    """A picture of each noise.

    Attributes:
        setting: that drew them.
        draws: with the guide's scores, and what the judge sees.
        nfe: for each picture.
        seconds: for each, from the prompt to the pixels.
        scoring: seconds of the guide for each.
    """

    setting: Setting
    draws: list[Draw]
    nfe: float
    seconds: float
    scoring: float


@dataclass(frozen=True)
class BestOfN:
    """What the student finds in the teacher's time of one picture.

    Attributes:
        count: candidates that came.
        draws: those that were scored.
        best: the chosen one; None where every candidate failed.
        reason: why it failed; None where it did not.
        nfe, seconds: of the whole search.
    """

    count: int
    draws: list[Draw]
    best: Draw | None
    reason: str | None
    nfe: int
    seconds: float


@dataclass(frozen=True)
class OneStep:
    """The end.

    Attributes:
        drawn: by the teacher, then by the student.
        best: in the teacher's time of one picture.
        notes: what the library warned of.
    """

    request: OneStepRequest
    drawn: list[Drawn]
    best: BestOfN
    notes: list[str] = field(default_factory=list)


def run_one_step(studio: Studio, request: OneStepRequest, folder: Path, turn: Turn) -> OneStep:
    """Draw by the student, which is quick, by the teacher, and as many by the student as the teacher's time holds.

    It reports `Loading`, `CallMade` and `Drawn`. No picture is shown on its way: its decode would be in the seconds.

    Args:
        studio: of the page.
        request: checked.
        folder: of this run alone.
        turn: of the visitor.
    """
    models = studio.models
    models.announce([request.student, request.teacher, request.job.guides[0], request.judge], turn.report)
    load = partial(models.judge_or_guide, model=request.student)
    guide, _ = request.job.load_verifiers(load)
    judge = None if request.judge is None else load(request.judge)
    teacher, *students = request.settings
    drawn: list[Drawn] = []
    for number, setting in enumerate([*students, teacher]):
        pipe = models.pipeline(setting.model)
        calls = _Calls(turn, setting.says, number, len(request.settings) + 1, setting.arguments)
        with turn.stops(pipe), before_calls(pipe, calls.count):
            if setting in (students[0], teacher):  # what a first call alone does is no part of the time
                _timed(pipe, request, {**setting.arguments, "num_inference_steps": 1}, guide)
                calls.begin()
            timed = _timed(pipe, request, setting.arguments, guide)
        drawn.append(_drawn(timed, request, setting, judge, folder))
        turn.report(drawn[-1])
    drawn = [drawn[-1], *drawn[:-1]]
    result = _searched(studio, request, drawn, load, turn)
    return OneStep(request, drawn, _best_of(result, request, judge, folder), turn.notes)


def _searched(
    studio: Studio, request: OneStepRequest, drawn: list[Drawn], load: Callable[[str], Verifier], turn: Turn
) -> SearchResult:
    """The student's search in the teacher's seconds of one picture."""
    seconds, price = drawn[0].seconds, drawn[-1].seconds + drawn[-1].scoring
    count, done = candidates_in(seconds, price, studio.limits.candidates), 0
    pipe = studio.models.pipeline(request.student)
    calls = _Calls(turn, f"best of {count} by {request.student}", len(drawn), len(drawn) + 1)

    def in_time(report: BatchReport) -> bool:
        nonlocal done
        done += len(report.records)
        return fits(report.ledger.seconds, done, min(request.images, count - done), seconds)

    with turn.stops(pipe), before_calls(pipe, calls.count):
        return request.best_of(count).run(pipe, load=load, progress=False, on_batch=in_time)


def candidates_in(seconds: float, price: float, most: int) -> int:
    """How many candidates fit into some seconds, at least one.

    Args:
        seconds: that there are.
        price: of a candidate, in seconds.
        most: of candidates.
    """
    return max(1, min(most, int(seconds / price)))


def fits(spent: float, done: int, rest: int, seconds: float) -> bool:
    """Whether a search's next batch still fits into some seconds, at the pace so far.

    Args:
        spent: seconds so far.
        done: candidates in them.
        rest: candidates of the next batch.
        seconds: that there are, but for `SLACK`.
    """
    return spent * (done + rest) / done <= SLACK * seconds


@dataclass(frozen=True)
class _Timed:
    """Pictures of all noises with the guide's scores, NFEs, and the seconds of both."""

    images: Any
    scores: list[float]
    nfe: int
    drawing: float
    scoring: float


def _timed(pipe: Any, request: OneStepRequest, arguments: dict[str, Any], guide: Verifier) -> _Timed:
    from ....pipelines.call import PipelineCall, quiet
    from ....pipelines.counting import count_nfe
    from ....pipelines.row import Row
    from ....pipelines.search.scoring import score_batch

    rows = Row.draws(request.prompt, request.seeds)
    call = PipelineCall(pipe, arguments)
    with quiet(pipe):
        if len(rows) > 1:
            call.makes_rows([row.condition for row in rows])  # tried once, before the clock runs
        with count_nfe(pipe) as counts:
            begun = time.perf_counter()
            images, usable = call(rows)
            drawn = time.perf_counter()
    scored = score_batch(guide, images, usable, request.prompt)
    ended = time.perf_counter()
    scores = [_number(one.scores.get(guide.name)) for one in scored]
    return _Timed(images, scores, counts.nfe, drawn - begun, ended - drawn)


def _drawn(timed: _Timed, request: OneStepRequest, setting: Setting, judge: Verifier | None, folder: Path) -> Drawn:
    files = save_pictures(timed.images, [folder / f"{setting.name}_{k}.png" for k in range(request.images)])
    draws = _judged(files, request.seeds, timed.scores, judge, request.prompt)
    count = request.images
    return Drawn(setting, draws, timed.nfe / count, timed.drawing / count, timed.scoring / count)


def _best_of(result: SearchResult, request: OneStepRequest, judge: Verifier | None, folder: Path) -> BestOfN:
    candidates, ledger = result.candidates[0], result.ledger
    kept = [(one, image) for one in candidates if (image := one.image) is not None]
    files = [folder / f"candidate_{one.seed}.png" for one, _ in kept]
    for (_, image), file in zip(kept, files, strict=True):
        image.save(file)
    draws = _judged(files, [one.seed for one, _ in kept], [one.score for one, _ in kept], judge, request.prompt)
    chosen = result.best[0]
    best = next((one for one in draws if not result.failed and one.seed == chosen.seed), None)
    return BestOfN(len(candidates), draws, best, chosen.reason, ledger.nfe, ledger.seconds)


def _judged(
    files: Sequence[Path], seeds: Sequence[int], scores: Sequence[float], judge: Verifier | None, prompt: str
) -> list[Draw]:
    seen: Sequence[Sight | None] | None = None if judge is None else sights(judge, files, prompt)
    if judge is not None and seen is None:  # it has no words
        values = judge(files, prompt).tolist()
        seen = [Sight.scored(judge.name, None if math.isnan(value) else value) for value in values]
    return [Draw(*one) for one in zip(files, seeds, scores, seen or [None] * len(files), strict=True)]


def _number(score: float | None) -> float:
    return math.nan if score is None else score


class _Calls:
    """Counts the model calls of a part of the run, and tells of them now and then."""

    def __init__(self, turn: Turn, says: str, done: int, parts: int, arguments: dict[str, Any] | None = None):
        self._turn, self._says, self._done, self._parts = turn, says, done, parts
        self._steps = (arguments or {}).get("num_inference_steps")
        self._told = -math.inf
        self.begin()

    def begin(self) -> None:
        """Count from here."""
        self._calls = 0

    def count(self) -> None:
        self._calls += 1
        now = time.monotonic()
        if now >= self._told + APART:
            self._told = now
            part = min(self._calls / self._steps, 1.0) if self._steps else 0.0
            self._turn.report(CallMade(self._says, self._calls, (self._done + part) / self._parts))
