"""TimeShiftScheduler: time-shift sampling (Li et al., arXiv 2305.15583) around any solver of diffusers.

A solver's iterate is a little off the samples that the model was trained on at that time. Its variance tells which time
fits it better: among the times in a window around the next one, the model is called at the time whose forward variance
is nearest to the sample's own (paper, algorithm 1). Seam: the scheduler, whose live `timesteps` the pipeline iterates.
Cost: one variance per step, no further model call.
"""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor

from . import compat
from .live_timesteps import index_of
from .variance_match import forward_variance, matching_times, row_variances, sigma_at
from .wrapped import LiveTimes, Wrapped

SOLVERS = {
    "ddim": "DDIMScheduler",
    "pndm": "PNDMScheduler",
    "dpmsolver++": "DPMSolverMultistepScheduler",
    "euler": "EulerDiscreteScheduler",
    "flow-euler": "FlowMatchEulerDiscreteScheduler",
}
"""Short names of child schedulers."""

FLAT = 0.01
"""A forward variance that changes by less than this share over the window carries no information on time."""

VARIANTS = ("paper", "reference")


class TimeShiftScheduler(LiveTimes):
    """
    A diffusers scheduler whose next time is chosen by the sample's variance.

    A scheduler of the class `solver` does the update; ours is an instance of that class too, with its settings, state
    and methods. With `window=0` it is that scheduler, bit for bit.

    Use `TimeShiftScheduler.from_scheduler(pipe.scheduler, window=40, cutoff=500)`; `from_config(pipe.scheduler.config)`
    works too where the config names its class or `solver` is given. All rows of a batch share a time here, so an image
    depends on its batch mates; `apply_per_sample_time` (`hooks/row_times.py`) gives each row its own.

    Args:
        solver (`str`, defaults to `"DDIMScheduler"`):
            Class of the child, or a short name: ddim, pndm, dpmsolver++, euler, flow-euler.
        window (`int`, defaults to 40):
            Width in training times of the window around the next time that is searched.
        cutoff (`int`, defaults to 500):
            At times at or below it nothing is shifted. The paper takes 200 to 400; with 500 no solver was worse by more
            than its interval at 10 steps (`benchmarks/results/timeshift_fid.json`).
        variant (`str`, defaults to `"paper"`):
            `"paper"` shifts the time of the next model call, by the sample after the step. `"reference"`, the authors'
            code, shifts the target of the present update instead, by the sample before the step.
        data_variance (`float`, defaults to 0.0):
            Variance of the clean data's elements. 0 is the paper, which neglects it; the true value makes the match
            unbiased.

    Attributes:
        row_times (`torch.Tensor`, *optional*): time of each row's next model call, `(batch,)`; None before the first
            step and with `window=0`.
        per_sample (`bool`): whether each row has its own time.

    Raises:
        ValueError: for an unknown solver or variant, a negative window or data variance; with a window, for a solver
            of another order than 1 or whose forward process is not known.
    """

    child_setting: ClassVar[str] = "solver"
    child_names: ClassVar[dict[str, str]] = SOLVERS

    def __init__(
        self,
        solver: str = "DDIMScheduler",
        window: int = 40,
        cutoff: int = 500,
        variant: str = "paper",
        data_variance: float = 0.0,
    ):
        self.begin_new(window=window, cutoff=cutoff, variant=variant, data_variance=data_variance)

    def begin(self, **settings: Any) -> None:
        """Take up the work around a child's state."""
        self.row_times: Tensor | None = None
        self.per_sample = False
        self.__begin: int | None = None
        super().begin(**settings)

    def check(self) -> None:
        """Check our settings and, where a window asks something of it, the child.

        Raises:
            ValueError: with the reason.
        """
        window, cutoff, variance = self.config.window, self.config.cutoff, self.config.data_variance
        if self.config.variant not in VARIANTS:
            raise ValueError(f"unknown variant {self.config.variant!r}; known: {', '.join(VARIANTS)}")
        if window < 0 or variance < 0:
            raise ValueError(f"window is {window} and data_variance {variance}; give at least 0")
        if issubclass(self.child_kind, Wrapped):
            raise ValueError(f"time shift goes inside of {self.child_kind.__name__}; give the scheduler that is in it")
        if window == 0:
            return
        child, name = self.child, self.child_kind.__name__
        if getattr(child, "order", 1) != 1:
            raise ValueError(f"{name} is of order {child.order}; time shift needs a solver of order 1")
        if not compat.takes_one_time(child):
            takes = ", ".join(list(inspect.signature(self.child_kind.step).parameters)[1:])
            raise ValueError(f"{name}.step takes {takes}; time shift needs one of model_output, timestep and sample")
        if compat.grows_without_bound(child):
            raise ValueError(
                f"this {name} runs with sigmas up to {self.config.sigma_max:g}, far beyond the times that a model is "
                "trained at; time shift does not know that path"
            )
        last = child.config.get("num_train_timesteps")
        if last is None:
            raise ValueError(f"{name} has no num_train_timesteps, so that no window of times is known around a time")
        if window > last or not 0 <= cutoff <= last:
            raise ValueError(f"window is {window} and cutoff {cutoff}; both lie within the {last} training times")
        forward_variance(child, variance)

    @property
    def begin_index(self) -> int | None:
        """First step of an image-to-image run; None where none was set."""
        return getattr(self.child, "begin_index", self.__begin)

    @property
    def grid(self) -> Tensor:
        """The solver's own times, which stay where they are."""
        return self.child.timesteps

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """
        Set the child's grid of times; arguments are the child's.

        Raises:
            ValueError: for settings that were changed and do not fit, or, with a window, less than one step, sigmas
                beyond 1 in a flow, or the reference variant around a solver whose target is not known.
        """
        self.show(None)
        self.row_times = self.__begin = None
        self.check()
        if self.config.window == 0:
            self.ask_child("set_timesteps", *args, **kwargs)
            return
        asked = self.arguments("set_timesteps", args, kwargs)
        steps = asked.arguments.get("num_inference_steps")
        if steps is not None and steps < 1:
            raise ValueError(f"num_inference_steps is {steps}; give at least 1")
        self.child_kind.set_timesteps(*asked.args, **asked.kwargs)
        if compat.is_linear_flow(self.child) and compat.exceeds_one(self.child):
            raise ValueError("the sigmas go beyond 1, which no linear flow has; time shift does not know that path")
        self.__variances = forward_variance(self.child, self.config.data_variance).to(self.grid.device)
        self.__scaled = False
        self.take_times()
        if self.config.variant == "reference" and self._shifted_times():
            self._target(0)
        self._warn_where_flat()

    def take_times(self) -> None:
        """Show the child's times, as those that may be shifted."""
        self.show(self.grid.clone())
        self.__grid_numbers = self.grid.tolist()
        self.__first = 0

    def _shifted_times(self) -> list[float]:
        return [time for time in self.__grid_numbers[1:] if time > self.config.cutoff]

    def _warn_where_flat(self) -> None:
        spreads = []
        for time in self._shifted_times():
            low, high = self._window(time)
            values = self.__variances[low : high + 1]
            spreads.append(float((values.max() - values.min()) / values.max().clamp_min(1e-12)))
        if spreads and max(spreads) < FLAT:
            warnings.warn(
                f"the forward variance changes by less than {FLAT:.0%} over the window at every time: it says nothing "
                "of time here (latents of unit variance with their data_variance, for one); time shift will not help",
                stacklevel=4,
            )

    def _window(self, time: float) -> tuple[int, int]:
        """Training times searched around a time of the grid, first and last."""
        half = self.config.window / 2
        return max(0, round(time - half)), min(len(self.__variances) - 1, round(time + half))

    def set_begin_index(self, begin_index: int = 0) -> None:
        """
        Set the first step, as image-to-image pipelines do.

        Args:
            begin_index (`int`, defaults to 0): into the grid of times.
        """
        self.__begin = begin_index
        if hasattr(self.child_kind, "set_begin_index"):
            self.ask_child("set_begin_index", begin_index)

    def scale_model_input(self, sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """
        Scale the model's input as the child does at its own time of the grid.

        Args:
            sample (`torch.Tensor`): the current sample.
            args, kwargs: the child's, of which `timestep` may be shifted.
        """
        if self.live is None or not hasattr(self.child_kind, "scale_model_input"):
            return super().scale_model_input(sample, *args, **kwargs)
        self.__scaled = True
        call = self.arguments("scale_model_input", (sample, *args), kwargs)
        if call.arguments.get("timestep") is not None:
            call.arguments["timestep"] = self.__grid_numbers[self._place(call.arguments["timestep"])]
        return self.child_kind.scale_model_input(*call.args, **call.kwargs)

    def _place(self, timestep: float | Tensor) -> int:
        index = self.run_index(timestep)
        if self.calls is None:
            compat.place_step(self.child, index)
        return index

    def run_index(self, timestep: float | Tensor) -> int:
        """Index into the grid of the step under way; without a host sync where the pipeline passes `timesteps[i]`.

        Raises:
            ValueError: for a time that is no entry of `timesteps`.
        """
        if self.live is not None and self.calls is not None:
            return self.calls
        return index_of(self.timesteps, timestep)

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """
        Let the child step along its grid, then choose the time of the next model call.

        Args:
            args, kwargs: the child's: `model_output`, `timestep` (shifted or not), `sample` and others.

        Raises:
            ValueError: where the child scales the model's input and `scale_model_input` was never called.
        """
        call = self.arguments("step", args, kwargs)
        if self.live is None:
            return self.child_kind.step(*call.args, **call.kwargs)
        if not self.__scaled and compat.scales_input(self.child):
            raise ValueError(
                f"{self.child_kind.__name__} needs scale_model_input before each model call, which this pipeline does "
                "not make; use a solver such as ddim"
            )
        index, sample = self._place(call.arguments["timestep"]), call.arguments["sample"]
        if self.calls is None:
            self.__first = index
        call.arguments["timestep"] = self.__grid_numbers[index]
        goes_on = index + 1 < len(self.__grid_numbers)
        next_time = self.__grid_numbers[index + 1] if goes_on else -math.inf
        shifts = next_time > self.config.cutoff
        if shifts and self.config.variant == "reference" and index > self.__first:
            out = self._step_to_shifted_target(call, sample, index, next_time)
        else:
            out = self.child_kind.step(*call.args, **call.kwargs)
        self.calls = index + 1
        if goes_on:
            self.row_times = self.grid[index + 1].expand(len(sample))
            if shifts and self.config.variant == "paper":
                self._choose(out[0] if isinstance(out, tuple) else out.prev_sample, index + 1, next_time)
        return out

    def _choose(self, sample: Tensor, index: int, time: float) -> None:
        """Write the fitting time of a sample into the live timesteps."""
        live = self.timesteps
        low, high = self._window(time)
        chosen = low + matching_times(
            row_variances(sample), self.__variances[low : high + 1], shared=not self.per_sample
        )
        self.row_times = row_times = chosen.to(live.dtype)
        # The grid's place of the time keeps the shared one: the mean of the rows' where each has its own.
        live[index] = row_times.float().mean().round().to(live.dtype)

    def _target(self, index: int) -> tuple[str, int]:
        """Table and entry that a step of the child aims at, which the reference variant moves."""
        if (target := compat.step_target(self.child, index, self.__grid_numbers)) is None:
            raise ValueError(
                f"where {self.child_kind.__name__} reads the target of its step is not known, and the reference "
                'variant moves it; use variant="paper"'
            )
        return target

    def _step_to_shifted_target(
        self, call: inspect.BoundArguments, sample: Tensor, index: int, next_time: float
    ) -> Any:
        """The reference variant: for this update, the table's entry that the child aims at is another time's."""
        low, high = self._window(next_time)
        match = low + matching_times(row_variances(sample), self.__variances[low : high + 1], shared=True)[0]
        name, place = self._target(index)
        table = getattr(self.child, name)
        replacement = sigma_at(self.child, match).to(table) if name == "sigmas" else table[match]
        kept = table[place].clone()
        table[place] = replacement
        try:
            return self.child_kind.step(*call.args, **call.kwargs)
        finally:
            table[place] = kept

    def add_noise(self, *args: Any, **kwargs: Any) -> Tensor:
        """Noise clean samples as the child does; a time that was shifted stands for the grid's in its place."""
        return self._noised("add_noise", "timesteps", args, kwargs)

    def scale_noise(self, *args: Any, **kwargs: Any) -> Tensor:
        """As `add_noise`, of flows."""
        return self._noised("scale_noise", "timestep", args, kwargs)

    def _noised(self, name: str, times: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        if self.live is None:
            return self.ask_child(name, *args, **kwargs)
        call = self.arguments(name, args, kwargs)
        if isinstance(given := call.arguments.get(times), Tensor):
            shifted = (given.reshape(-1, 1) == self.live.to(given.device)) & (self.live != self.grid).to(given.device)
            unshifted = self.grid.to(given)[shifted.int().argmax(-1)].reshape(given.shape)
            call.arguments[times] = torch.where(shifted.any(-1).reshape(given.shape), unshifted, given)
        return getattr(self.child_kind, name)(*call.args, **call.kwargs)
