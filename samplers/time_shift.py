"""TimeShiftScheduler: time-shift sampling (Li et al., arXiv 2305.15583) around any solver of diffusers.

A solver's iterate is a little off the samples that the model was trained on at that time. Its variance tells which time
fits it better: among the times in a window around the next one, the model is called at the time whose forward variance
is nearest to the sample's own (paper, algorithm 1). Seam: the scheduler, whose live `timesteps` the pipeline iterates.
Cost: a variance a step, no model call more.
"""

from __future__ import annotations

import inspect
import warnings
from typing import Any, ClassVar

import diffusers
import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers
from torch import Tensor

from .child_scheduler import times_for
from .interpolants import from_scheduler as path_of
from .live_timesteps import position

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


def forward_variance(child: Any, data_variance: float) -> Tensor:
    """Variance of a noised sample at each training time: alpha^2 data_variance + sigma^2, (training times,)."""
    path = path_of(child)
    steps = child.config.num_train_timesteps
    times = torch.arange(steps + 1, dtype=torch.float64)
    if not hasattr(path, "table"):  # a flow's time is timestep / training steps, 0 to 1
        times = times / steps
    else:
        times = times[:-1]
    return (path.alpha(times) ** 2 * data_variance + path.sigma(times) ** 2).float()


def row_variances(sample: Tensor) -> Tensor:
    """Unbiased variance of each row's own elements, (batch,)."""
    return sample.float().flatten(1).var(1)


def matching_times(variances: Tensor, table: Tensor, shared: bool) -> Tensor:
    """Indices into `table` whose variance is nearest to each row's, (batch,).

    Args:
        variances: of the rows, (batch,).
        table: forward variances of the candidate times, (candidates,).
        shared: one time for all rows, the least mean squared mismatch, as a scheduler can only give one a batch.
    """
    mismatch = (variances[:, None] - table[None]).square()
    if shared:
        return mismatch.mean(0).argmin().expand(len(variances))
    return mismatch.argmin(1)


class TimeShiftScheduler(SchedulerMixin, ConfigMixin):
    """
    A diffusers scheduler whose next time is chosen by the sample's variance.

    This model inherits from [`SchedulerMixin`] and [`ConfigMixin`]; a child scheduler of the class `solver`, made from
    the same config, does the update. With `window=0` it is the child, bit for bit.

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

    Raises:
        ValueError: for an unknown solver or variant, a negative window or data variance.
    """

    # Names the classes whose keys our config carries for the child; without it diffusers warns that they are ignored.
    _compatibles: ClassVar[list[str]] = [kind.name for kind in KarrasDiffusionSchedulers] + [SOLVERS["flow-euler"]]
    order = 1

    @register_to_config
    def __init__(
        self,
        solver: str = "DDIMScheduler",
        window: int = 40,
        cutoff: int = 500,
        variant: str = "paper",
        data_variance: float = 0.0,
    ):
        if not hasattr(diffusers, SOLVERS.get(solver, solver)) or not solver:
            raise ValueError(f"unknown solver {solver!r}; known: {', '.join(SOLVERS)}, or a diffusers scheduler class")
        if variant not in ("paper", "reference"):
            raise ValueError(f"unknown variant {variant!r}; known: paper, reference")
        if window < 0 or data_variance < 0:
            raise ValueError(f"window is {window} and data_variance {data_variance}; give at least 0")
        self._child: SchedulerMixin | None = None
        self._begin: int | None = None
        self._index: int | None = None
        self.row_times: Tensor | None = None
        self.per_sample = False

    @classmethod
    def from_scheduler(cls, scheduler: SchedulerMixin, **settings: Any) -> TimeShiftScheduler:
        """
        Wrap a pipeline's scheduler.

        Args:
            scheduler: any diffusers scheduler of order 1 whose forward process is known.
            settings: of this class; `solver` takes another child's class.
        """
        if isinstance(scheduler, cls):
            settings.setdefault("solver", scheduler.config.solver)
        settings.setdefault("solver", type(scheduler).__name__)
        return cls.from_config(scheduler.config, **settings)

    @classmethod
    def from_config(cls, config: dict[str, Any], return_unused_kwargs: bool = False, **kwargs: Any):
        """
        Make one from a scheduler's config.

        Raises:
            ValueError: where neither the config nor `solver=` says which class the child is.
        """
        name = config.get("_class_name")
        solver = kwargs.pop("solver", None) or config.get("solver") or (None if name == cls.__name__ else name)
        if solver is None:
            raise ValueError(
                "the config does not name its scheduler class; use TimeShiftScheduler.from_scheduler(pipe.scheduler) "
                f"or pass solver=, one of {', '.join(SOLVERS)}"
            )
        solver = SOLVERS.get(solver, solver)
        return super().from_config(config, return_unused_kwargs=return_unused_kwargs, solver=solver, **kwargs)

    @property
    def child(self) -> Any:
        """The scheduler that does the update."""
        if self._child is None:
            ours = set(inspect.signature(type(self).__init__).parameters)
            config = {k: v for k, v in self.config.items() if k not in ours and not k.startswith("_")}
            child = getattr(diffusers, SOLVERS.get(self.config.solver, self.config.solver)).from_config(config)
            self._table = forward_variance(child, self.config.data_variance)
            last = child.config.num_train_timesteps
            if self.config.window > last or not 0 <= self.config.cutoff <= last:
                raise ValueError(
                    f"window is {self.config.window} and cutoff {self.config.cutoff}; both lie within the {last} "
                    "training times"
                )
            if child.order != 1:
                raise ValueError(
                    f"{type(child).__name__} is of order {child.order}; time shift needs a solver of order 1"
                )
            self._child = child
        return self._child

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name in ("config",):
            return super().__getattr__(name)
        return getattr(self.child, name)

    def __len__(self) -> int:
        return self.child.config.num_train_timesteps

    @property
    def begin_index(self) -> int | None:
        """First step of an image-to-image run; None from the start."""
        return self._begin

    @property
    def step_index(self) -> int | None:
        """Steps done, from the start of the grid."""
        return self._index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """
        Set the first step, as image-to-image pipelines do.

        Args:
            begin_index (`int`, defaults to 0): into the grid of times.
        """
        self._begin = begin_index
        if hasattr(self.child, "set_begin_index"):
            self.child.set_begin_index(begin_index)

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        sigmas: list[float] | None = None,
        mu: float | None = None,
        timesteps: list[int] | None = None,
    ) -> None:
        """
        Set the child's grid of times; arguments that are None are not passed on.

        Raises:
            ValueError: for an argument that the child does not take, or less than one step.
        """
        if num_inference_steps is not None and num_inference_steps < 1:
            raise ValueError(f"num_inference_steps is {num_inference_steps}; give at least 1")
        given = times_for(
            self.child, num_inference_steps=num_inference_steps, sigmas=sigmas, mu=mu, timesteps=timesteps
        )
        self.child.set_timesteps(device=device, **given)
        self.num_inference_steps = self.child.num_inference_steps
        self.grid = self.child.timesteps.clone()
        self.timesteps = self.child.timesteps.clone()
        self._grid_numbers = self.grid.tolist()
        self._variances = self._table.to(self.grid.device)
        self._begin = self._index = self.row_times = None
        self._scaled = False
        self._warn_where_flat()

    def _warn_where_flat(self) -> None:
        shifted = [t for t in self._grid_numbers[1:] if t > self.config.cutoff]
        if not shifted or not self.config.window:
            return
        spreads = []
        for time in shifted:
            low, high = self._window(time)
            values = self._table[low : high + 1]
            spreads.append(float((values.max() - values.min()) / values.max().clamp_min(1e-12)))
        if max(spreads) < FLAT:
            warnings.warn(
                f"the forward variance changes by less than {FLAT:.0%} over the window at every time: it says nothing "
                "of time here (latents of unit variance with their data_variance, for one); time shift will not help",
                stacklevel=3,
            )

    def _window(self, time: float) -> tuple[int, int]:
        """Training times searched around a time of the grid, first and last."""
        half = self.config.window / 2
        return max(0, round(time - half)), min(len(self._table) - 1, round(time + half))

    def scale_model_input(self, sample: Tensor, timestep: float | Tensor | None = None) -> Tensor:
        """
        Scale the model's input as the child does.

        Args:
            sample (`torch.Tensor`): the current sample.
            timestep (`torch.Tensor`, *optional*): the pipeline's; the grid's own time is used in its place.
        """
        if not hasattr(self.child, "scale_model_input"):
            return sample
        self._scaled = True
        index = self._locate(timestep)
        self._place_child(index)
        return self.child.scale_model_input(sample, self._grid_numbers[index])

    def _place_child(self, index: int) -> None:
        """Tell a child that counts its steps where it starts, so that it need not search its list."""
        if self._index is None and hasattr(self.child, "set_begin_index"):
            self.child.set_begin_index(index)

    def _locate(self, timestep: float | Tensor | None) -> int:
        """Index into the grid of the step under way; without a host sync where the pipeline passes `timesteps[i]`."""
        if self._index is not None:
            return self._index
        if self._begin is not None:
            return self._begin
        if (index := position(self.timesteps, timestep)) is not None:
            return index
        found = [i for i, time in enumerate(self._grid_numbers) if time == float(timestep)]
        if not found:
            raise ValueError(f"timestep {float(timestep):g} is not on the grid; pass an entry of timesteps")
        return found[0]

    def step(
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> Any:
        """
        Let the child step along its grid, then choose the time of the next model call.

        Args:
            model_output (`torch.Tensor`): the model's, `(batch, ...)`.
            timestep (`float` or `torch.Tensor`): the pipeline's, shifted or not.
            sample (`torch.Tensor`): the current sample.
            eta (`float`, defaults to 0.0): for children that take it (DDIM).
            generator (`torch.Generator` or a list, *optional*): for children that draw noise.
            return_dict (`bool`, defaults to True): the child's output class, or a tuple.

        Raises:
            ValueError: where the child scales the model's input and `scale_model_input` was never called.
        """
        if not self._scaled and hasattr(self.child, "is_scale_input_called"):
            raise ValueError(
                f"{type(self.child).__name__} needs scale_model_input before each model call, which this pipeline does "
                "not make; use a solver such as ddim"
            )
        index = self._locate(timestep)
        takes = inspect.signature(self.child.step).parameters
        extra = {"eta": eta, "generator": generator}
        extra = {name: value for name, value in extra.items() if name in takes}
        next_time = self._grid_numbers[index + 1] if index + 1 < len(self._grid_numbers) else None
        shifts = next_time is not None and self.config.window > 0 and next_time > self.config.cutoff
        reference = self.config.variant == "reference"
        call = (model_output, self._grid_numbers[index], sample)
        self._place_child(index)
        if shifts and reference and index > (self._begin or 0):
            out = self._step_to_shifted_target(call, extra, index, next_time, return_dict)
        else:
            out = self.child.step(*call, **extra, return_dict=return_dict)
        self._index = index + 1
        if next_time is not None:
            self.row_times = self.grid[index + 1].expand(len(sample))
            if shifts and not reference:
                previous = out.prev_sample if return_dict else out[0]
                self._choose(previous, index + 1, next_time)
        return out

    def _choose(self, sample: Tensor, index: int, time: float) -> None:
        """Write the fitting time of a sample into the live timesteps."""
        low, high = self._window(time)
        chosen = low + matching_times(
            row_variances(sample), self._variances[low : high + 1], shared=not self.per_sample
        )
        self.row_times = chosen.to(self.timesteps.dtype)
        # The grid's place of the time keeps the shared one: the mean of the rows' where each has its own.
        self.timesteps[index] = self.row_times.float().mean().round().to(self.timesteps.dtype)

    def _step_to_shifted_target(self, call, extra, index: int, next_time: float, return_dict: bool) -> Any:
        """The reference variant: for this update, the table's entry that the child aims at is another time's."""
        low, high = self._window(next_time)
        match = matching_times(row_variances(call[2]), self._variances[low : high + 1], shared=True)[0]
        child = self.child
        if hasattr(child, "sigmas"):
            table, place = child.sigmas, index + 1
            replacement = self._sigma_at(low + match).to(table)
        else:
            stride = child.config.num_train_timesteps // child.num_inference_steps
            repeats = isinstance(child, diffusers.PNDMScheduler)  # its second call aims at the first one's target again
            table = child.alphas_cumprod
            place = int(next_time) if repeats else int(self._grid_numbers[index]) - stride
            replacement = table[low + match]
        kept = table[place].clone()
        table[place] = replacement
        try:
            return child.step(*call, **extra, return_dict=return_dict)
        finally:
            table[place] = kept

    def _sigma_at(self, time: Tensor) -> Tensor:
        """The child's own sigma at a training time."""
        path = path_of(self.child)
        if not hasattr(path, "table"):
            return time / self.child.config.num_train_timesteps
        return (-path.log_snr(time.float()) / 2).exp()

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Noise clean samples as the child does."""
        return self.child.add_noise(original_samples, noise, timesteps)
