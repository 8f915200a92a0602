"""The images that a pipeline makes to be measured: any number of them, each from a condition and a seed of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import diffusers
import numpy as np
from diffusers import SchedulerMixin

from .. import samplers
from ..pipelines.call import PipelineCall
from ..samplers.time_shift import SOLVERS


def generate(
    pipe: Any,
    conditions: Sequence[str | int],
    numbers: Iterable[int],
    seed: int = 0,
    batch_size: int = 64,
    arguments: Mapping[str, Any] | None = None,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Make images, ordered by condition; image k has conditions[k % len(conditions)] and the seed `seed + k`.

    So an image depends on its number alone, and processes or a later run can share the numbers.

    Args:
        pipe: any diffusers pipeline that makes images of prompts or class labels.
        conditions: prompts, or class labels.
        numbers: which images.
        seed: of image 0.
        batch_size: images in one call at most; a call is of one condition.
        arguments: of each call of the pipeline.

    Returns:
        batches of numbers and their images, uint8 (batch, height, width, channels).

    Raises:
        ValueError: for a pipeline or arguments that do not fit, and for images that hold NaN or were blacked.
    """
    call = PipelineCall(pipe, arguments or {})
    by_condition: dict[int, list[int]] = {}
    for number in numbers:
        by_condition.setdefault(number % len(conditions), []).append(number)
    for index, wanted in sorted(by_condition.items()):
        for start in range(0, len(wanted), batch_size):
            batch = wanted[start : start + batch_size]
            images, usable = call(conditions[index], [seed + number for number in batch])
            if bad := [seed + number for number, good in zip(batch, usable, strict=True) if not good]:
                raise ValueError(
                    f"the images of {conditions[index]!r} with the seeds {', '.join(map(str, bad))} hold NaN or were "
                    "blacked by a safety checker; they cannot be measured"
                )
            yield batch, images


def set_scheduler(pipe: Any, name: str) -> None:
    """Give a pipeline another scheduler, made from the config of its own.

    Args:
        pipe: a diffusers pipeline.
        name: a class of diffusers or of ours ("DDIMScheduler", "TimeShiftScheduler"), or a short name: ddim, pndm,
            dpmsolver++, euler, flow-euler.

    Raises:
        ValueError: for an unknown name, or a scheduler that does not fit the one that the pipeline has.
    """
    name = SOLVERS.get(name, name)
    ours = name if name in samplers.__all__ else None
    cls = getattr(samplers if ours else diffusers, name, None)
    if not (isinstance(cls, type) and issubclass(cls, SchedulerMixin)):
        raise ValueError(
            f"unknown scheduler {name!r}; give one of {', '.join(SOLVERS)}, a class of diffusers such as "
            "UniPCMultistepScheduler, or TimeShiftScheduler or FlowSDEScheduler"
        )
    current = pipe.scheduler
    if not ours and cls not in (type(current), *current.compatibles):
        known = sorted({type(current).__name__, *(one.__name__ for one in current.compatibles)})
        raise ValueError(f"{name} cannot stand in for {type(current).__name__}; known to fit: {', '.join(known)}")
    make = getattr(cls, "from_scheduler", None)
    pipe.scheduler = make(current) if make else cls.from_config(current.config)
