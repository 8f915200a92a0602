"""Clean predictions at chosen steps of an unmodified pipeline; `decode` makes pictures of them.

Seam: the scheduler's `step`, shadowed on the instance, which is given the model's output after guidance. Nothing of the
run changes. Cost: a few operations of the latents' size for each recorded step.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffusers.utils import BaseOutput
from torch import Tensor

from ..samplers.clean_prediction import clean_prediction, locate
from ..samplers.wrapped import innermost
from .shadow import shadowed


class Previews:
    """What `record_previews` has seen of the run under way.

    Attributes:
        latents: clean prediction formed in each step, (batch, ...) in the form of the pipeline's latents, float32.
    """

    def __init__(self, scheduler: Any, steps: Iterable[int | float] | None):
        self.latents: dict[int, Tensor] = {}
        self._shown, self._scheduler = scheduler, innermost(scheduler)
        self._steps = None if steps is None else list(steps)
        self.reset()

    def reset(self) -> None:
        """Wait for a new run; what was recorded of the last one stays until it begins."""
        self._call: int | None = None

    @property
    def last(self) -> Tensor:
        """The clean prediction of the latest recorded step."""
        return self.latents[max(self.latents)]

    def step_of(self, step: int | float) -> int:
        """Number of a step of the run, which `steps` names by its number or by a share of the run."""
        return range(self._num_steps)[_early(step, self._num_steps) if isinstance(step, float) else step]

    def see(self, model_output: Tensor, timestep: float | Tensor, sample: Tensor) -> None:
        """Record a call of `step`.

        Raises:
            ValueError: at the first call of a run that lacks a step to be recorded.
        """
        call = self._begin(timestep) if self._call is None else self._call
        step = max(0, call - self._warmup) // self._scheduler.order
        if step in self._wanted:  # the last of a step's calls stays
            self.latents[step] = clean_prediction(
                self._scheduler, model_output, self._times[call], sample, index=call
            ).detach()
        self._call = call + 1

    def _begin(self, timestep: float | Tensor) -> int:
        """Number of the run's first model call."""
        self.latents.clear()
        call = locate(self._shown, timestep)
        self._times = self._scheduler.timesteps.tolist()  # once a run, so that no step waits for the device
        order, steps = self._scheduler.order, self._scheduler.num_inference_steps
        # PNDM makes more calls than steps: as in pipelines' progress bars, those of its start count as its first step.
        self._warmup = max(0, len(self._times) - steps * order)
        known, self._num_steps = range(steps), steps
        wanted = (
            known if self._steps is None else [_early(s, steps) if isinstance(s, float) else s for s in self._steps]
        )
        if missing := [step for step in wanted if not -steps <= step < steps]:
            raise ValueError(f"no step {', '.join(map(str, missing))} in a run of {steps}; give 0 to {steps - 1}")
        self._wanted = {known[step] for step in wanted}
        return call


@dataclass
class _Finished(BaseOutput):
    """What pipelines read off the outputs of schedulers' steps."""

    prev_sample: Tensor
    pred_original_sample: Tensor
    denoised: Tensor


def step_output(arguments: Mapping[str, Any], finished: Tensor) -> _Finished | tuple[Tensor, Tensor]:
    """What a pipeline takes for the output of its last step, by whichever name it reads that.

    Args:
        arguments: of the call of `step`, whose sample has the dtype and whose `return_dict` the form.
        finished: sample that it is to end with, (batch, ...).
    """
    sample = finished.to(arguments["sample"].dtype)
    if arguments.get("return_dict", True):
        return _Finished(sample, sample, sample)
    return sample, sample


def _early(share: float, steps: int) -> int:
    """Number of the step that ends a share of a run; never the last, whose prediction is the finished sample."""
    if steps < 2:
        raise ValueError("a run of one step has no clean prediction before its last; give it two steps or more")
    return min(max(round(share * steps), 1), steps - 1) - 1


@contextmanager
def record_previews(pipe: Any, steps: Iterable[int | float] | None = None) -> Iterator[Previews]:
    """Record clean predictions while the context is open; of several calls of the pipeline, the last one's stay.

    Calls that resume a run by windows (`WindowedScheduler`) go on with its steps.

    Args:
        pipe: a diffusers pipeline; its scheduler is as it was afterwards.
        steps: numbers of steps, from 0; negative ones count from the end; a float in (0, 1) is the share of the run
            that a step before the last ends; None for all.

    Raises:
        ValueError: within the pipeline's call, for a step that the run does not have or a scheduler whose path is not
            known.
    """
    scheduler = pipe.scheduler
    previews = Previews(scheduler, steps)
    signature = inspect.signature(type(scheduler).step)  # a user's own step need not name what it passes on

    def seen_step(step: Any, *args: Any, **kwargs: Any) -> Any:
        call = signature.bind(scheduler, *args, **kwargs).arguments
        previews.see(call["model_output"], call["timestep"], call["sample"])
        return step(*args, **kwargs)

    def new_timesteps(set_timesteps: Any, *args: Any, **kwargs: Any) -> Any:
        if not getattr(scheduler, "resumes", False):
            previews.reset()
        return set_timesteps(*args, **kwargs)

    with shadowed(scheduler, "step", seen_step), shadowed(scheduler, "set_timesteps", new_timesteps):
        yield previews
