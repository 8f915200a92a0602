"""WindowedScheduler: some of the steps of a run, so that a pipeline can be stopped after any step and resumed there.

A pipeline denoises for the `timesteps` that its scheduler shows. This one shows steps [start, stop) of a child's run,
and leaves the child's history (of multistep solvers, of Heun's method) as it stands between the windows. The latents of
one window, which `output_type="latent"` gives, go into the next as `latents=`, with the same generator objects; the
last window's images are the plain run's, bit for bit. Seam: the scheduler. Cost: none.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers import SchedulerMixin
from torch import Tensor

from .row_state import gather_rows, run_tables
from .wrapped import Wrapped


class WindowedScheduler(Wrapped):
    """
    Steps [start, stop) of a child scheduler's run.

    The child is of the class `child_class`; ours is an instance of that class too, with its settings, state and
    methods. What is not described here is the child's.

    ```python
    pipe.scheduler = WindowedScheduler.from_scheduler(pipe.scheduler, stop=8)
    latents = pipe(prompt, generator=generators, output_type="latent").images  # steps 0 to 7
    pipe.scheduler.keep_rows([0, 2])
    pipe.scheduler.set_window(8)
    images = pipe(prompt, generator=[generators[0], generators[2]], latents=latents[[0, 2]]).images
    ```

    A step is `order` model calls, as pipelines count them. PNDMScheduler is of order 1 and makes more calls than steps
    were requested: its windows count calls.

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

    child_setting: ClassVar[str] = "child_class"
    outermost: ClassVar[bool] = True

    def __init__(self, start: int = 0, stop: int | None = None, child_class: str = "DDIMScheduler"):
        self.begin_new(start=start, stop=stop)

    @classmethod
    def from_scheduler(
        cls, scheduler: SchedulerMixin, start: int = 0, stop: int | None = None, **settings: Any
    ) -> WindowedScheduler:
        """
        Wrap a pipeline's scheduler: its settings and state are taken over, however it came to have them.

        Args:
            scheduler: any; a windowed one's child is taken.
            start, stop: the window.
            settings: `child_class` for another child, and settings of that.

        Raises:
            ValueError: for a window that is empty or begins below 0, or a scheduler whose methods were replaced on the
                instance.
        """
        return super().from_scheduler(scheduler, start=start, stop=stop, **settings)

    def begin(self, **settings: Any) -> None:
        """Take up the work around a child's state."""
        self.__asked: dict[str, Any] | None = None
        self.__made_calls, self.__begins_anew = 0, False
        self.__batch: tuple[int, ...] | None = None
        self.__tables: frozenset[str] = frozenset()
        super().begin(**settings)

    def check(self) -> None:
        """Check the window.

        Raises:
            ValueError: for one that is empty or begins below 0.
        """
        _check_window(self.config.start, self.config.stop)

    @property
    def _order(self) -> int:
        return getattr(self.child, "order", 1)  # UnCLIPScheduler has none

    @property
    def num_steps(self) -> int:
        """Steps of the whole run, whose timesteps are set."""
        return -(-len(self.child.timesteps) // self._order)

    @property
    def resumes(self) -> bool:
        """Whether the window goes on with a run that was begun."""
        return self.config.start > 0

    @property
    def timesteps(self) -> Tensor:
        """Times of the window, a view of the child's."""
        start, stop = (None if step is None else step * self._order for step in (self.config.start, self.config.stop))
        return self.child.timesteps if start == 0 and stop is None else self.child.timesteps[start:stop]

    @timesteps.setter
    def timesteps(self, times: Tensor) -> None:
        self.child.timesteps = times

    @property
    def sigmas(self) -> Tensor:
        """The child's from the window's first call to the run's end: pipelines count from 0 and look at the last."""
        return self.child.sigmas[self.config.start * self._order :] if self.resumes else self.child.sigmas

    @sigmas.setter
    def sigmas(self, sigmas: Tensor) -> None:
        self.child.sigmas = sigmas

    @property
    def init_noise_sigma(self) -> float | Tensor:
        """Scale of the first latents: the child's for noise, 1 for latents of an earlier window."""
        return 1.0 if self.resumes else getattr(self.child, "init_noise_sigma", 1.0)

    @init_noise_sigma.setter
    def init_noise_sigma(self, scale: float | Tensor) -> None:
        self.child.init_noise_sigma = scale

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

    def begin_anew(self, start: int, stop: int | None = None) -> None:
        """
        Choose the steps of the pipeline's next call, which begins there without the child's history.

        For samples that were brought to that step otherwise, as by noise.

        Args:
            start (`int`): first step.
            stop (`int`, *optional*): the step before which it ends; None for the end of the run.

        Raises:
            ValueError: for a window that is empty or begins below 0.
        """
        self.set_window(start, stop)
        self.__begins_anew = True

    def set_begin_index(self, begin_index: int = 0) -> None:
        """
        Set the first call, as image-to-image pipelines do.

        Args:
            begin_index (`int`, defaults to 0): into the run's times.

        Raises:
            ValueError: above 0 in a run that is resumed: the pipeline would noise its picture again.
        """
        if self.resumes:
            if begin_index:
                raise ValueError("an image-to-image call begins a run of its own; only runs from noise can be resumed")
            return
        self.__made_calls = begin_index
        if hasattr(self.child_kind, "set_begin_index"):
            self.ask_child("set_begin_index", begin_index)

    def set_timesteps(self, *args: Any, **kwargs: Any) -> None:
        """
        Set the times of the whole run, by the child's arguments; a run that is resumed keeps those that it has.

        Raises:
            ValueError: for an argument that the child does not take, a window that the run does not have, or a run to
                be resumed that is another, or stands at another step.
        """
        call = self.arguments("set_timesteps", args, kwargs)
        given = {name: value for name, value in list(call.arguments.items())[1:] if name != "device"}
        asked = {name: _plain(value) for name, value in _flat(given).items() if value is not None}
        if self.resumes and not self.__begins_anew:
            self._check_resumes(asked)
        else:
            before = dict(vars(self))
            self.child_kind.set_timesteps(*call.args, **call.kwargs)
            self.__tables = run_tables(self.child, before)
            self.__asked, self.__batch = asked, None
            self.__made_calls, self.__begins_anew = self.config.start * self._order, False
            if self.resumes and hasattr(self.child_kind, "set_begin_index"):
                self.ask_child("set_begin_index", self.__made_calls)
        last = max(self.config.start + 1, self.config.stop or 0)
        if last > self.num_steps:
            raise ValueError(f"the window reaches step {last}, but the run has {self.num_steps}")

    def _check_resumes(self, asked: dict[str, Any]) -> None:
        start = self.config.start
        if self.__asked is None:
            raise ValueError(f"the window starts at step {start} of a run that was never begun; run [0, {start}) first")
        if asked != self.__asked:
            raise ValueError(f"a run begun with {self.__asked} cannot be resumed with {asked}")
        if self.__made_calls != start * self._order:
            raise ValueError(
                f"the window starts at step {start}, but the run stands at step {self.__made_calls / self._order:g}; "
                "run the steps between first"
            )

    def step(self, *args: Any, **kwargs: Any) -> Any:
        """
        The child's step.

        Args:
            args, kwargs: the child's, of which `sample` is `(batch, ...)`.

        Raises:
            ValueError: where the batch is of another size than in the step before.
        """
        call = self.arguments("step", args, kwargs)
        sample = call.arguments["sample"]
        if self.__batch is not None and len(sample) != self.__batch[0]:
            raise ValueError(
                f"the run has {self.__batch[0]} rows and this step {len(sample)}; call keep_rows with those that go on"
            )
        out = self.child_kind.step(*call.args, **call.kwargs)
        self.__made_calls += 1
        self.__batch = tuple(sample.shape)
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
        shape = self._shape()
        chosen = _checked(rows, shape[0])
        gather_rows([self.child], [chosen], [shape[0]], self.__tables)
        self.__batch = (len(chosen), *shape[1:])

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
        runs, shapes = [part for part, _ in parts], [part._shape() for part, _ in parts]
        sizes = [shape[0] for shape in shapes]
        rows = [_checked(chosen, size) for (_, chosen), size in zip(parts, sizes, strict=True)]
        if len({(run.__made_calls, str(run.__asked)) for run in runs}) > 1:
            stand = [run.__made_calls for run in runs]
            raise ValueError(f"the runs stand at calls {stand}; join those at the same step")
        # The sources may have to go on too; copies of generators have the same state.
        copies = [copy.deepcopy(run) for run in runs]
        first = copies[0]
        gather_rows([one.child for one in copies], rows, sizes, first.__tables)
        first.__batch = (sum(map(len, rows)), *shapes[0][1:])
        return first

    def _shape(self) -> tuple[int, ...]:
        """Of the batch so far."""
        if self.__batch is None:
            raise ValueError("no step was made yet, so there are no rows to keep")
        return self.__batch


def _checked(rows: Sequence[int] | Tensor, count: int) -> list[int]:
    """Rows that can go on, of `count`."""
    chosen = [int(row) for row in rows]
    if not chosen or len(set(chosen)) < len(chosen) or not set(chosen) <= set(range(count)):
        raise ValueError(f"rows are {chosen}; give different ones from 0 to {count - 1}")
    return chosen


def _check_window(start: int, stop: int | None) -> None:
    if start < 0 or (stop is not None and stop <= start):
        raise ValueError(f"the window is [{start}, {stop}); give 0 <= start < stop")


def _flat(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, those that a child takes by `**kwargs` among them."""
    kwargs = given.get("kwargs")
    return {**given, **kwargs, "kwargs": None} if isinstance(kwargs, dict) else dict(given)


def _plain(value: Any) -> Any:
    """An argument as numbers or texts that compare."""
    return np.ravel(value.cpu() if isinstance(value, torch.Tensor) else value).tolist()
