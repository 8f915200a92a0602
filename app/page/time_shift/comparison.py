"""Plain sampling beside time-shifted sampling from the same noises, as work of the page."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....named_settings import write
from ....pipelines.shipped import call_arguments, check_vocabulary
from ..library import import_library
from ..limits import Limits, checked_prompt, one_of, real, whole
from ..line import Turn
from ..model_calls import before_calls
from ..models import Models
from ..pictures import save_pictures
from ..studio import Studio

if TYPE_CHECKING:
    import numpy as np

MOST_IMAGES = 8
VARIANTS = ("paper", "reference")
AMPLIFIED = 4
"""By how much differences of pictures are made larger."""


@dataclass(frozen=True)
class ShiftRequest:
    """One comparison.

    Attributes:
        condition: a class or a prompt.
        solver: short name of the child scheduler; None for the model's own.
        window, cutoff: in training times.
        variant: "paper" or "reference".
        data_variance: of the clean data; 0 neglects it, as the paper does.
        per_image: a time for each image, as the paper has it; else one for the batch.
        images: how many; image k has the noise of `seed + k`.
    """

    model: str
    condition: str
    solver: str | None
    steps: int
    window: int
    cutoff: int
    variant: str
    data_variance: float
    per_image: bool
    images: int
    seed: int

    def check(self, models: Models, limits: Limits) -> ShiftRequest:
        """The same request with numbers as Python has them.

        Raises:
            ValueError: for anything that is not offered or out of range, in one sentence.
        """
        one_of("model", self.model, models.pipelines)
        one_of("variant", self.variant, VARIANTS)
        condition = checked_prompt(self.condition, limits)
        check_vocabulary([condition], self.model, [])
        fitting = fitting_solvers(models, self.model)
        if self.solver and self.solver not in fitting:
            raise ValueError(f"{self.solver} does not solve {self.model}; take one of {', '.join(fitting)}")
        return replace(
            self,
            solver=self.solver or fitting[0],
            condition=condition,
            steps=whole("number of steps", self.steps, 2, limits.steps),
            window=whole("window", self.window, 0, 1000, "training times"),
            cutoff=whole("cutoff", self.cutoff, 0, 1000, "training times"),
            data_variance=real("data variance", self.data_variance, 0, 100),
            per_image=bool(self.per_image),
            images=whole("number of images", self.images, 1, MOST_IMAGES),
            seed=whole("seed", self.seed, 0, 2**31 - 1),
        )

    @property
    def scheduler(self) -> str:
        """The time shift by name."""
        settings = {name: getattr(self, name) for name in ("window", "cutoff", "variant", "data_variance")}
        return write("time-shift", settings)

    @property
    def hooks(self) -> list[str]:
        """By name: a time for each image is put on the networks."""
        return ["row-times"] if self.per_image else []

    @property
    def arm(self) -> str:
        """Name of the setting in the measured table."""
        if self.window == 0:
            return "plain"
        if self.variant == "reference":
            return "reference"
        if self.data_variance == 0:
            return "paper" if self.per_image else "paper, shared"
        return "data_variance" if self.per_image else "shared"


def fitting_solvers(models: Models, model: str) -> list[str]:
    """Short names of the solvers for a model's kind, a flow or not, its own first."""
    import_library()
    from ....samplers.time_shift import SOLVERS

    own = models.solver(model)
    flows = [name for name, kind in SOLVERS.items() if kind.startswith("FlowMatch")]
    fit = [name for name in SOLVERS if own is None or (name in flows) == own.startswith("FlowMatch")]
    return sorted(fit, key=lambda name: SOLVERS[name] != own)


@dataclass(frozen=True)
class StepDone:
    """A model call of `calls` was made."""

    call: int
    calls: int


@dataclass(frozen=True)
class Comparison:
    """The end.

    Attributes:
        plain, shifted: a picture for each noise.
        grid: the solver's own times, from noise to data.
        chosen: for each of them, the times at which the model was called, one for each image.
        difference: a picture of the difference of each pair, amplified.
        saturated: share of matches that fell on an end of the window; None where none was made.
        notes: what the library warned of.
    """

    request: ShiftRequest
    plain: list[Path]
    shifted: list[Path]
    grid: list[float]
    chosen: list[list[float]]
    saturated: float | None
    notes: list[str] = field(default_factory=list)
    difference: list[Path] = field(default_factory=list)


def run_comparison(studio: Studio, request: ShiftRequest, folder: Path, turn: Turn) -> Comparison:
    """Sample plain and shifted; it reports `Loading` and `StepDone`.

    Args:
        studio: of the page.
        request: checked.
        folder: of this run alone.
        turn: of the visitor.
    """
    studio.models.announce([request.model], turn.report)
    from ....pipelines.call import PipelineCall, quiet
    from ....pipelines.row import Row
    from ....samplers.by_name import set_up

    pipe = studio.models.pipeline(request.model)
    call = PipelineCall(pipe, call_arguments(request.model, {"num_inference_steps": request.steps}))
    rows = Row.draws(request.condition, range(request.seed, request.seed + request.images))
    calls = _Calls(turn, 2 * request.steps, pipe)
    with (
        turn.stops(pipe),
        quiet(pipe),
        before_calls(pipe, calls.count),
        set_up(pipe, request.solver),
    ):
        plain = _save(call(rows)[0], folder, "plain")
        with set_up(pipe, request.scheduler, request.hooks), before_calls(pipe, calls.note):
            shifted = _save(call(rows)[0], folder, "shifted")
            grid, last = [float(time) for time in pipe.scheduler.grid], len(pipe.scheduler) - 1
    chosen = [calls.chosen.get(step, [time] * request.images) for step, time in enumerate(grid)]
    saturated = saturated_share(request, grid, chosen, last)
    apart = save_pictures(difference_pictures(plain, shifted), [folder / f"apart_{k}.png" for k in range(len(plain))])
    return Comparison(request, plain, shifted, grid, chosen, saturated, turn.notes, apart)


def difference_pictures(plain: list[Path], shifted: list[Path]) -> list[np.ndarray]:
    """Where pictures of the same noises differ: gray where they agree, amplified so that small differences are seen.

    Args:
        plain, shifted: files, in pairs.

    Returns:
        uint8 (height, width, 3) each.
    """
    import numpy as np
    from PIL import Image

    pictures = []
    for one, other in zip(plain, shifted, strict=True):
        first, second = (np.asarray(Image.open(file).convert("RGB"), np.float32) for file in (one, other))
        apart = np.clip(128 + AMPLIFIED / 2 * (second - first), 0, 255)
        pictures.append(apart.round().astype(np.uint8))
    return pictures


def saturated_share(request: ShiftRequest, grid: list[float], chosen: list[list[float]], last: int) -> float | None:
    """Share of the matches that fell on an end of the window, so that a better time may lie beyond it.

    Args:
        request: of the comparison.
        grid, chosen: times, from noise to data; for each of the grid's, one for each image.
        last: training time that no window passes.

    Returns:
        None where nothing was matched: without a window, below the cutoff, and in the reference variant, which shifts
        no model call.
    """
    ends = []
    if request.window and request.variant == "paper":
        for time, row in zip(grid[1:], chosen[1:], strict=True):
            if time > request.cutoff:
                low, high = max(0, round(time - request.window / 2)), min(last, round(time + request.window / 2))
                ends += [one in (low, high) for one in row]
    return sum(ends) / len(ends) if ends else None


class _Calls:
    """Counts the model's calls, and notes the times of those that a time shift chose."""

    def __init__(self, turn: Turn, calls: int, pipe: Any):
        self.turn, self.calls, self.pipe = turn, calls, pipe
        self.done = 0
        self.chosen: dict[int, list[float]] = {}

    def count(self) -> None:
        self.done += 1
        self.turn.report(StepDone(self.done, max(self.calls, self.done)))

    def note(self) -> None:
        scheduler = self.pipe.scheduler
        if scheduler.row_times is not None:
            self.chosen[scheduler.step_index] = scheduler.row_times.tolist()


def _save(images: Any, folder: Path, name: str) -> list[Path]:
    return save_pictures(images, [folder / f"{name}_{k}.png" for k in range(len(images))])
