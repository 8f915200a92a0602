"""WindowedScheduler: some of the steps of a run, so that a pipeline can be stopped after any step and resumed there.

A pipeline denoises for the `timesteps` that its scheduler shows. This one shows steps [start, stop) of a child's run,
and leaves the child's history (of multistep solvers, of Heun's method) as it stands between the windows. The latents of
one window, asked for with `output_type="latent"`, go into the next as `latents=`, with the same generator objects; the
last window's images are the plain run's, bit for bit. Seam: the scheduler. Cost: none.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from .child_scheduler import times_for
from .flow_sde import FlowSDEScheduler
from .time_shift import TimeShiftScheduler

_OURS = {kind.__name__: kind for kind in (FlowSDEScheduler, TimeShiftScheduler)}

_ROW_VECTORS = ("row_times",)
"""Vectors with an entry a row; every other vector that a scheduler holds is a table of times."""


class WindowedScheduler(SchedulerMixin, ConfigMixin):
    """
    Steps [start, stop) of a child scheduler's run.

    This model inherits from [`SchedulerMixin`] and [`ConfigMixin`]; the child, of the class `child_class`, is made from
    the same config. What is not described here is the child's.

    ```python
    pipe.scheduler = WindowedScheduler.from_scheduler(pipe.scheduler, stop=8)
    latents = pipe(prompt, generator=generators, output_type="latent").images  # steps 0 to 7
    pipe.scheduler.keep_rows([0, 2])
    pipe.scheduler.set_window(8)
    images = pipe(prompt, generator=[generators[0], generators[2]], latents=latents[[0, 2]]).images
    ```

    A step is `order` model calls, as pipelines count them. PNDMScheduler is of order 1 and makes more calls than it
    was asked for steps: its windows count calls.

    Args:
        start (`int`, defaults to 0):
            First step. Above 0 the run is resumed: the child is not reset, and latents are not scaled.
        stop (`int`, *optional*):
            The step before which it ends; None for the end of the run.
        child_class (`str`, defaults to `"DDIMScheduler"`):
            Class of the child, of diffusers or of samplesmith.

    Raises:
        ValueError: for a window that is empty or begins below 0.
    """

    @register_to_config
    def __init__(self, start: int = 0, stop: int | None = None, child_class: str = "DDIMScheduler"):
        _check_window(start, stop)
        self._kind: type[SchedulerMixin] | None = None
        self._child: SchedulerMixin | None = None
        self._asked: dict[str, Any] | None = None
        self._calls = 0
        self._shape: tuple[int, ...] | None = None

    @classmethod
    def from_scheduler(cls, scheduler: SchedulerMixin, start: int = 0, stop: int | None = None) -> WindowedScheduler:
        """
        Wrap a pipeline's scheduler.

        Args:
            scheduler: any; a windowed one's child is taken.
            start, stop: the window.
        """
        scheduler = scheduler.child if isinstance(scheduler, cls) else scheduler
        windowed = cls.from_config(scheduler.config, start=start, stop=stop, child_class=type(scheduler).__name__)
        windowed._kind = type(scheduler)
        return windowed

    @classmethod
    def from_config(cls, config: dict[str, Any], return_unused_kwargs: bool = False, **kwargs: Any):
        """
        Make one from a scheduler's config.

        Raises:
            ValueError: where neither the config nor `child_class=` says which class the child is.
        """
        ours = set(inspect.signature(cls.__init__).parameters) - {"self"}
        settings = {name: config[name] for name in ours if name in config}
        settings |= {name: kwargs.pop(name) for name in ours if name in kwargs}
        name = config.get("_class_name")
        settings.setdefault("child_class", None if name == cls.__name__ else name)
        if settings["child_class"] is None:
            raise ValueError(
                "the config does not name its scheduler class; use WindowedScheduler.from_scheduler(pipe.scheduler) "
                "or pass child_class="
            )
        windowed = cls(**settings)
        # All of the child's settings, its defaults too: they are what it is made from.
        hidden = {key: value for key, value in config.items() if key not in ours and not key.startswith("_")}
        windowed.register_to_config(**hidden)
        return (windowed, kwargs) if return_unused_kwargs else windowed

    @property
    def child(self) -> Any:
        """The scheduler whose run is cut.

        Raises:
            ValueError: for a class that is not known.
        """
        if self._child is None:
            name = self.config.child_class
            kind = self._kind or _OURS.get(name) or getattr(diffusers, name, None)
            if kind is None:
                raise ValueError(f"unknown scheduler class {name!r}; give one of diffusers, or {', '.join(_OURS)}")
            ours = set(inspect.signature(type(self).__init__).parameters)
            config = {k: v for k, v in self.config.items() if k not in ours and not k.startswith("_")}
            self._child = kind.from_config(config)
        return self._child

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "config":
            return super().__getattr__(name)
        return getattr(self.child, name)

    def __len__(self) -> int:
        return self.child.config.num_train_timesteps

    @property
    def order(self) -> int:
        """Model calls a step."""
        return self.child.order

    @property
    def num_steps(self) -> int:
        """Steps of the whole run, whose timesteps are set."""
        return -(-len(self.child.timesteps) // self.order)

    @property
    def timesteps(self) -> Tensor:
        """Times of the window, a view of the child's."""
        stop = self.config.stop
        return self.child.timesteps[self.config.start * self.order : None if stop is None else stop * self.order]

    @property
    def init_noise_sigma(self) -> float | Tensor:
        """Scale of the first latents: the child's for noise, 1 for latents of an earlier window."""
        return 1.0 if self.config.start else getattr(self.child, "init_noise_sigma", 1.0)

    def set_window(self, start: int, stop: int | None = None) -> None:
        """
        Choose the steps of the pipeline's next call.

        Args:
            start (`int`): first step; 0 begins a new run.
            stop (`int`, *optional*): the step before which it ends; None for the end of the run.

        Raises:
            ValueError: for a window that is empty or begins below 0.
        """
        _check_window(start, stop)
        self.register_to_config(start=start, stop=stop)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """
        Set the first call, as image-to-image pipelines do.

        Args:
            begin_index (`int`, defaults to 0): into the run's times.

        Raises:
            ValueError: above 0 in a run that is resumed: the pipeline would noise its picture again.
        """
        if self.config.start:
            if begin_index:
                raise ValueError("an image-to-image call begins a run of its own; only runs from noise can be resumed")
            return
        self._calls = begin_index
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
        Set the times of the whole run; a run that is resumed keeps those that it has.

        Arguments are the child's; those that are None are not passed on.

        Raises:
            ValueError: for an argument that the child does not take, a window that the run does not have, or a run to
                be resumed that is another, or stands at another step.
        """
        given = times_for(
            self.child, num_inference_steps=num_inference_steps, sigmas=sigmas, mu=mu, timesteps=timesteps
        )
        asked = {name: np.ravel(value).tolist() for name, value in given.items()}
        if self.config.start:
            self._check_resumes(asked)
        else:
            self.child.set_timesteps(device=device, **given)
            self._asked, self._calls, self._shape = asked, 0, None
        last = max(self.config.start + 1, self.config.stop or 0)
        if last > self.num_steps:
            raise ValueError(f"the window reaches step {last}, but the run has {self.num_steps}")

    def _check_resumes(self, asked: dict[str, Any]) -> None:
        start = self.config.start
        if self._asked is None:
            raise ValueError(f"the window starts at step {start} of a run that was never begun; run [0, {start}) first")
        if asked != self._asked:
            raise ValueError(f"a run begun with {self._asked} cannot be resumed with {asked}")
        if self._calls != start * self.order:
            raise ValueError(
                f"the window starts at step {start}, but the run stands at step {self._calls / self.order:g}; "
                "run the steps between first"
            )

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
        The child's step.

        Args:
            model_output (`torch.Tensor`): the model's, `(batch, ...)`.
            timestep (`float` or `torch.Tensor`): an entry of `timesteps`.
            sample (`torch.Tensor`): the current sample.
            eta (`float`, defaults to 0.0): for children that take it (DDIM).
            generator (`torch.Generator` or a list, *optional*): for children that draw noise.
            return_dict (`bool`, defaults to True): the child's output class, or a tuple.

        Raises:
            ValueError: where the batch is of another size than in the step before.
        """
        if self._shape is not None and len(sample) != self._shape[0]:
            raise ValueError(
                f"the run has {self._shape[0]} rows and this step {len(sample)}; tell keep_rows which of them go on"
            )
        takes = inspect.signature(self.child.step).parameters
        extra = {"eta": eta, "generator": generator}
        extra = {name: value for name, value in extra.items() if name in takes}
        out = self.child.step(model_output, timestep, sample, **extra, return_dict=return_dict)
        self._calls += 1
        self._shape = tuple(sample.shape)
        return out

    def keep_rows(self, rows: Sequence[int] | Tensor) -> None:
        """
        Let a run go on with some of its rows: the child's history and generators keep theirs.

        Latents and generators that the caller passes to the pipeline are the caller's to choose.

        Args:
            rows (`list[int]`): of the batch so far, each at most once, in the order of the next window's batch.

        Raises:
            ValueError: before the first step, for rows that the batch does not have, or for a child whose noise belongs
                to the batch as a whole.
        """
        chosen = self._checked(rows)
        _gather([self.child], [chosen], [self._shape])
        self._shape = (len(chosen), *self._shape[1:])

    @classmethod
    def joined(cls, parts: Sequence[tuple[WindowedScheduler, Sequence[int] | Tensor]]) -> WindowedScheduler:
        """
        A run that goes on with rows of several, which stand at the same step; those runs are left as they are.

        Args:
            parts (list of `WindowedScheduler` and `list[int]`): runs and their rows, in the order of the next window's
                batch.

        Raises:
            ValueError: for what `keep_rows` refuses, runs that stand at different steps, or runs with different times:
                a time shift gives each batch its own.
        """
        rows = [part._checked(chosen) for part, chosen in parts]
        runs, shapes = [part for part, _ in parts], [part._shape for part, _ in parts]
        if len({(run._calls, str(run._asked)) for run in runs}) > 1:
            raise ValueError(f"the runs stand at calls {[run._calls for run in runs]}; join those at the same step")
        # The sources may have to go on too; copies of generators have the same state.
        copies = [copy.deepcopy(run) for run in runs]
        first = copies[0]
        _gather([one.child for one in copies], rows, shapes)
        first._shape = (sum(map(len, rows)), *first._shape[1:])
        return first

    def _checked(self, rows: Sequence[int] | Tensor) -> list[int]:
        """Rows that can go on."""
        if self._shape is None:
            raise ValueError("no step was made yet, so there are no rows to keep")
        chosen, count = [int(row) for row in rows], self._shape[0]
        if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(count)):
            raise ValueError(f"rows are {chosen}; give different ones from 0 to {count - 1}")
        return chosen


def _check_window(start: int, stop: int | None) -> None:
    if start < 0 or (stop is not None and stop <= start):
        raise ValueError(f"the window is [{start}, {stop}); give 0 <= start < stop")


def _gather(schedulers: Sequence[Any], rows: Sequence[list[int]], shapes: Sequence[tuple[int, ...]]) -> None:
    """Put chosen rows of what all hold by row into the first: tensors of the sample's shape, generators, one a row."""
    first = schedulers[0]
    if getattr(first, "noise_sampler", None) is not None:
        raise ValueError(f"{type(first).__name__} draws the noise of a whole batch, so no row can go on alone")
    for name, value in vars(first).items():
        values = [vars(one)[name] for one in schedulers]
        if isinstance(value, SchedulerMixin):
            _gather(values, rows, shapes)
        elif isinstance(value, (Tensor, list)):
            vars(first)[name] = _gathered(name, values, rows, shapes)


def _gathered(name: str, values: list[Any], rows: Sequence[list[int]], shapes: Sequence[tuple[int, ...]]) -> Any:
    first = values[0]
    if isinstance(first, list):
        if len(first) == shapes[0][0] and isinstance(first[0], torch.Generator):
            return [own[k] for own, some in zip(values, rows, strict=True) for k in some]
        return [_gathered("", list(entries), rows, shapes) for entries in zip(*values, strict=True)]
    if not isinstance(first, Tensor):
        return first
    if name in _ROW_VECTORS or tuple(first.shape) == shapes[0]:
        return torch.cat([own[some] for own, some in zip(values, rows, strict=True)])
    if not all(own is first or torch.equal(own, first) for own in values):
        raise ValueError("the batches stand at different times, so their rows cannot be joined; make one batch of them")
    return first
