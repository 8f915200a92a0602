"""A time of its own for each row of a batch, at every network that is called with the time.

A pipeline hands one time to a whole batch. The hook puts the rows' own in its place: which argument it is, and in what
unit, is learnt from what the pipeline passed while the scheduler's time was known. Cost: a few readings of the time, in
the first steps of the first run; none later.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from diffusers.utils.torch_utils import unwrap_module
from torch import Tensor, nn

from .denoiser_hook import DenoiserHook, attach
from .networks import argument_names, time_arguments, timed_networks
from .time_units import TimeUnit, as_tensor, fitting_units


class RowTimeSource(Protocol):
    """A scheduler that knows a time for each row; its length is the number of its training times.

    Attributes:
        row_times: of the call that comes, (rows,), in the scheduler's unit; None where all rows are at the pipeline's.
        timesteps: live, as the pipeline iterates them.
        step_index: steps done; None before the first.
        begin_index: where an image-to-image run begins.
        num_inference_steps: None before a run is set.
    """

    row_times: Tensor | None
    timesteps: Tensor
    step_index: int | None
    begin_index: int | None
    num_inference_steps: int | None

    def __len__(self) -> int: ...


_ENOUGH = 6
"""Times after which units that still fit are taken for the same."""


class RowTimes(DenoiserHook):
    """Replaces the time of a network's call by the rows' own.

    Args:
        source: the pipeline's scheduler.
        most_rows: rows that a run may have; with 1 a network whose time is not understood may keep the pipeline's.
    """

    place = 2

    def __init__(self, source: RowTimeSource, most_rows: int | None = None):
        super().__init__()
        self.source = source
        self.units: dict[str, list[TimeUnit]] = {}
        """By argument, those that fit what was seen so far, the likeliest first."""
        self._most_rows = most_rows
        self._learnt_at: list[float] = []
        self._first: dict[str, Tensor] = {}
        self._grid: Tensor | None = None
        self._unknown_at: set[int | None] = set()

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        self._names = argument_names(module)
        self._time_names = time_arguments(module)
        # Before all that is called with the network's arguments, a user's own hooks of torch included.
        self._handle = module.register_forward_pre_hook(self._replace, with_kwargs=True, prepend=True)
        return module

    def deinitalize_hook(self, module: nn.Module) -> nn.Module:
        self._handle.remove()
        return module

    def _replace(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        time = self._shared_time()
        if time is None:
            return args, kwargs
        call = {**dict(zip(self._names, args, strict=False)), **kwargs}
        if not self._has_learnt():
            self._learn(call, time)
        times = self.source.row_times
        if not any(name in self.units for name in self._time_names):
            self._refuse_where_unknown(module, times)
        if times is None or len(times) == 1:
            return args, kwargs
        own = {
            name: self._own(arrived, units[0], times, time, _rows(call))
            for name, units in self.units.items()
            if (arrived := as_tensor(call.get(name))) is not None
        }
        args = (
            tuple(own.get(name, value) for name, value in zip(self._names, args, strict=False))
            + args[len(self._names) :]
        )
        return args, {name: own.get(name, value) for name, value in kwargs.items()}

    def _shared_time(self) -> Tensor | None:
        """The time that the pipeline passes in the step under way; None where no run of the source is."""
        source = self.source
        if getattr(source, "num_inference_steps", None) is None:
            return None
        done = source.step_index
        index = (source.begin_index or 0) if done is None else done
        return source.timesteps[index] if index < len(source.timesteps) else None

    def _has_learnt(self) -> bool:
        """Two times tell what is a time at all; in half precision it may take more to tell where the pipeline casts."""
        seen = len(self._learnt_at)
        return seen >= _ENOUGH or (seen > 1 and all(len(units) == 1 for units in self.units.values()))

    def _learn(self, call: dict[str, Any], time: Tensor) -> None:
        """Keep the arguments and units that fit this time as they did those before."""
        number = float(time)
        if number in self._learnt_at:
            return
        last = len(self.source)
        fitting = {name: fitting_units(value, time, sorted({last, 1000})) for name, value in call.items()}
        if self._learnt_at:
            fitting = {
                name: [unit for unit in units if unit in fitting.get(name, ())]
                for name, units in self.units.items()
                if not _equal(as_tensor(call.get(name)), self._first[name])  # positions, masks: no times
            }
        self.units = {name: units for name, units in fitting.items() if units}
        if not self._learnt_at:
            first = {name: as_tensor(call[name]) for name in self.units}
            self._first = {name: value.clone() for name, value in first.items() if value is not None}
        if self.units:
            self._learnt_at.append(number)
        else:
            self._learnt_at.clear()

    def _refuse_where_unknown(self, module: nn.Module, times: Tensor | None) -> None:
        """Raise for a network that takes a time which is not the scheduler's in any known unit.

        One that is called outside of the scheduler's steps (a prior) is let be: it sees one step only.
        """
        if not self._time_names or self._most_rows == 1 or (times is not None and len(times) == 1):
            return
        if self._grid is not self.source.timesteps:
            self._grid = self.source.timesteps
            self._unknown_at.clear()
        self._unknown_at.add(self.source.step_index)
        first = times is None and self.source.step_index in (None, self.source.begin_index or 0)
        if first or len(self._unknown_at) > 1:
            raise ValueError(
                f"{type(unwrap_module(module)).__name__} is called with a time that is not understood, so its rows "
                "cannot have times of their own; run one row per call (batch_size=1), or use another scheduler"
            )

    def _own(self, arrived: Tensor, unit: TimeUnit, times: Tensor, time: Tensor, rows: int) -> Tensor:
        """An argument with the rows' times in place of the shared one."""
        rows = len(arrived) if arrived.ndim and len(arrived) > 1 else rows
        if rows % len(times):
            raise ValueError(
                f"a network is called with {rows} rows and the scheduler has times for {len(times)}; a time for each "
                "row needs whole copies of the batch"
            )
        own = unit(times, arrived).repeat(rows // len(times))  # guidance repeats the batch
        if arrived.ndim < 2:
            return own
        return torch.where(unit.where(arrived, time), own.view(-1, *[1] * (arrived.ndim - 1)), arrived)


def _equal(now: Tensor | None, before: Tensor) -> bool:
    return now is not None and now.shape == before.shape and bool((now == before).all())


def _rows(call: dict[str, Any]) -> int:
    """Rows of a network's call: of its first argument that is a batch."""
    return next(
        len(value)
        for value in call.values()
        if (isinstance(value, Tensor) and value.ndim > 1)
        or (isinstance(value, (list, tuple)) and value and isinstance(value[0], Tensor))
    )


class PerSampleTime:
    """What `apply_per_sample_time` returns; `remove()` takes the hooks off."""

    def __init__(self, attached: list[Any], scheduler: Any):
        self._attached = attached
        self._scheduler = scheduler

    def remove(self) -> None:
        """Go back to one time per batch."""
        for one in self._attached:
            one.remove()
        self._scheduler.per_sample = False


def apply_per_sample_time(model: Any, scheduler: Any, most_rows: int | None = None) -> PerSampleTime:
    """
    Give each row of the batch the time that fits it (the paper's per-sample shift), whatever the batch size.

    Args:
        model: the pipeline: then every network of it that is called with the time has the rows' own, ControlNets
            included; or one network, such as `pipe.unet`.
        scheduler: the pipeline's `TimeShiftScheduler`.
        most_rows (`int`, *optional*): rows of the runs that follow, where they are known.

    Raises:
        ValueError: for a pipeline without a network that takes a time; and, before the first call of a network is made,
            where its time is not understood.
    """
    networks = timed_networks(model)
    if not networks:
        raise ValueError(f"{type(model).__name__} has no network that takes a time")
    attached = [attach(network, RowTimes(scheduler, most_rows)) for network in networks]
    scheduler.per_sample = True
    return PerSampleTime(attached, scheduler)
