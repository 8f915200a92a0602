"""Schedulers and hooks by name, with settings: `flow-sde:diffusion=square,norm=3`.

A scheduler is always made from the one that the pipeline has, so that its path and its settings stay. A new scheduler
or hook of ours is one line in `SCHEDULERS` or `HOOKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import diffusers
from diffusers import SchedulerMixin

from .. import assets
from ..foreign_errors import in_one_sentence
from ..models.weak_model import WeakModel
from ..named_settings import check_settings, parse, resolve
from .diffusion_sde import DiffusionSDEScheduler
from .flow_sde import FlowSDEScheduler
from .hooks import (
    SkippedLayers,
    WeakToStrongConfig,
    ZigzagConfig,
    apply_per_sample_time,
    apply_weak_to_strong,
    apply_zigzag,
)
from .hooks.guidance_rules import GuidanceAt
from .hooks.weak_predictors import FromPrediction
from .stochastic import stochastic
from .time_shift import SOLVERS, TimeShiftScheduler

SCHEDULERS: dict[str, type[SchedulerMixin]] = {
    "flow-sde": FlowSDEScheduler,
    "diffusion-sde": DiffusionSDEScheduler,
    "time-shift": TimeShiftScheduler,
}
"""Schedulers of ours; each has `from_scheduler(current, **settings)`."""

CHOOSERS: dict[str, Callable[..., SchedulerMixin]] = {"stochastic": stochastic}
"""What chooses among them by the pipeline's own: each is called with that and its settings."""


class Removable(Protocol):
    """What a hook leaves behind."""

    def remove(self) -> None:
        """Take the hook off."""


def row_times(pipe: Any) -> Removable:
    """A time for each row, as the pipeline's `TimeShiftScheduler` chooses it (`apply_per_sample_time`).

    Raises:
        ValueError: for a pipeline with another scheduler.
    """
    if not isinstance(pipe.scheduler, TimeShiftScheduler):
        raise ValueError(f"row-times needs the scheduler time-shift; the pipeline has {type(pipe.scheduler).__name__}")
    return apply_per_sample_time(pipe, pipe.scheduler)


def weak_to_strong(
    pipe: Any,
    weak: str | None = None,
    layers: list[int] | None = None,
    scale: float = 1.5,
    strong_from: float = 0.0,
    strong_until: float = 0.3,
    rest_scale: float = 0.0,
    guidance_scale: float | None = None,
    layout: str | None = None,
) -> Removable:
    """Weak-to-strong guidance (`WeakToStrongConfig`).

    Args:
        pipe: the pipeline.
        weak: folder of a `WeakModel`, or name of a shipped one.
        layers: in its place, the layers that the denoiser skips.
        scale: this and the others as in `WeakToStrongConfig`.

    Raises:
        ValueError: for both a model and layers, and as `apply_weak_to_strong`.
    """
    if weak is not None and layers is not None:
        raise ValueError("weak-to-strong got weak= and layers=; give one weak prediction")
    predictor = SkippedLayers(layers) if layers is not None else weak if weak is None else _weak_model(weak, pipe)
    config = WeakToStrongConfig(
        predictor, scale, strong_from, strong_until, rest_scale, guidance_scale=guidance_scale, layout=layout
    )
    return apply_weak_to_strong(pipe, config)


def interval(pipe: Any, start: float = 0.0, stop: float = 0.5, layout: str | None = None) -> Removable:
    """The pipeline's guidance within [start, stop), shares of the steps, and the conditional prediction elsewhere.

    Raises:
        ValueError: as `apply_weak_to_strong`.
    """
    return apply_weak_to_strong(pipe, WeakToStrongConfig.interval(start, stop, layout))


def zigzag(
    pipe: Any,
    inversion_scale: float | None = None,
    weak: str | None = None,
    rounds: int = 1,
    until: float = 1.0,
    guidance_scale: float | None = None,
    layout: str | None = None,
) -> Removable:
    """Z-Sampling, or Z-CoRe² with the folder of a `WeakModel` (`ZigzagConfig`).

    Raises:
        ValueError: as `apply_zigzag`.
    """
    settings: dict[str, Any] = {"rounds": rounds, "until": until, "guidance_scale": guidance_scale, "layout": layout}
    if weak is not None:
        scale = 1.0 if inversion_scale is None else inversion_scale
        return apply_zigzag(pipe, ZigzagConfig.core(_weak_model(weak, pipe), scale, **settings))
    return apply_zigzag(pipe, ZigzagConfig(zag=GuidanceAt(inversion_scale or 0.0), **settings))


def _weak_model(folder: str, pipe: Any) -> FromPrediction:
    """A weak model where the pipeline runs, in the type that its denoiser has."""
    folder = str(assets.path(folder)) if folder in assets.names("weak model") else folder
    with in_one_sentence(f"the weak model {folder} cannot be loaded"):
        model = WeakModel.from_pretrained(folder, dtype=pipe.dtype)
    return FromPrediction(model.to(pipe.device).eval())


HOOKS: dict[str, Callable[..., Removable]] = {
    "row-times": row_times,
    "weak-to-strong": weak_to_strong,
    "interval": interval,
    "zigzag": zigzag,
}
"""Hooks by name: each is called with the pipeline and its settings, and returns what takes it off."""


def check_scheduler(spec: str) -> tuple[Any, dict[str, Any]]:
    """The class and the settings of a scheduler by name, as far as they are known without a pipeline.

    Args:
        spec: a name and maybe settings. Names are those of ours (flow-sde, diffusion-sde, time-shift, and stochastic
            for the one of the first two that fits), short ones of diffusers (ddim, pndm, dpmsolver++, euler,
            flow-euler), and classes of diffusers or of ours, such as "UniPCMultistepScheduler:solver_order=1".

    Returns:
        The class, or the function of `CHOOSERS`, and the settings.

    Raises:
        ValueError: for an unknown name or setting.
    """
    name, settings = parse(spec)
    if name in CHOOSERS:
        return resolve(spec, CHOOSERS, "scheduler", given=["scheduler"])
    ours = {cls.__name__: cls for cls in SCHEDULERS.values()} | SCHEDULERS
    cls: Any = ours.get(name) or getattr(diffusers, SOLVERS.get(name, name), None)
    is_scheduler = isinstance(cls, type) and issubclass(cls, SchedulerMixin)
    if not is_scheduler:
        raise ValueError(
            f"unknown scheduler {name!r}; give one of {', '.join([*SCHEDULERS, *CHOOSERS, *SOLVERS])}, or a class of "
            "diffusers such as UniPCMultistepScheduler"
        )
    check_settings(name, settings, cls)
    return cls, settings


def make_scheduler(spec: str, current: SchedulerMixin) -> SchedulerMixin:
    """A scheduler by name, made from the state or the config of another.

    Args:
        spec: as in `check_scheduler`.
        current: the scheduler that a pipeline has.

    Raises:
        ValueError: for an unknown name or setting, and a scheduler that does not fit the current one.
    """
    cls, settings = check_scheduler(spec)
    if cls in CHOOSERS.values():
        return cls(current, **settings)
    if cls in SCHEDULERS.values():
        return cls.from_scheduler(current, **settings)
    if cls not in (type(current), *current.compatibles):
        known = sorted({type(current).__name__, *(one.__name__ for one in current.compatibles)})
        raise ValueError(
            f"{cls.__name__} cannot stand in for {type(current).__name__}; known to fit: {', '.join(known)}"
        )
    return cls.from_config(current.config, **settings)


def set_scheduler(pipe: Any, spec: str) -> None:
    """Give a pipeline another scheduler, made from its own.

    Args:
        pipe: a diffusers pipeline.
        spec: as in `make_scheduler`.

    Raises:
        ValueError: as `make_scheduler`.
    """
    pipe.scheduler = make_scheduler(spec, pipe.scheduler)


def check_hook(spec: str) -> tuple[Callable[..., Removable], dict[str, Any]]:
    """What puts a hook on, and its settings, as far as they are known without a pipeline.

    Args:
        spec: a name in `HOOKS` and maybe settings.

    Raises:
        ValueError: for an unknown name or setting.
    """
    return resolve(spec, HOOKS, "hook", given=["pipe"])


def apply_hook(pipe: Any, spec: str) -> Removable:
    """Put a hook on a pipeline's networks by its name.

    Args:
        pipe: a diffusers pipeline.
        spec: as in `check_hook`.

    Raises:
        ValueError: for an unknown name or setting, and where the hook does not fit the pipeline.
    """
    hook, settings = check_hook(spec)
    return hook(pipe, **settings)


@contextmanager
def set_up(pipe: Any, scheduler: str | None = None, hooks: Sequence[str] = ()) -> Iterator[None]:
    """Another scheduler and hooks while the context is open; then the pipeline is as it was.

    Args:
        pipe: a diffusers pipeline.
        scheduler: as in `make_scheduler`; None for the pipeline's own.
        hooks: as in `apply_hook`, put on in this order.

    Raises:
        ValueError: as `make_scheduler` and `apply_hook`.
    """
    with ExitStack() as stack:
        if scheduler is not None:
            stack.callback(setattr, pipe, "scheduler", pipe.scheduler)
            set_scheduler(pipe, scheduler)
        for hook in hooks:
            stack.callback(apply_hook(pipe, hook).remove)
        yield
