"""Which schedulers a pipeline's loops run with: its own, or those of the pipelines that it runs one after another."""

from __future__ import annotations

from typing import Any

from diffusers import DiffusionPipeline

from ..samplers import compat


def loop_schedulers(pipe: Any) -> dict[str, Any]:
    """Schedulers of the loops of a pipeline's call, by where they stand in it.

    A pipeline that holds others (Kandinsky's and Stable Cascade's combined ones) runs with theirs: what is set as its
    own `scheduler` later is not used.
    """
    inner = {name: one for name, one in vars(pipe).items() if isinstance(one, DiffusionPipeline)}
    if not inner:
        own = getattr(pipe, "scheduler", None)
        return {} if own is None else {"scheduler": own}
    return {f"{name}.{key}": one for name, held in inner.items() for key, one in loop_schedulers(held).items()}


def check_scheduler_is_used(pipe: Any) -> None:
    """Whether the loop of a pipeline runs with `pipe.scheduler`.

    Raises:
        ValueError: where it does not, with the places of those that do.
    """
    used, name = loop_schedulers(pipe), type(pipe).__name__
    own = getattr(pipe, "scheduler", None)
    if own is None:
        raise ValueError(f"{name} has no component named scheduler, so no method can stand in its place")
    if not any(one is own for one in used.values()):
        raise ValueError(
            f"{name} does not run with its own scheduler; set {' or '.join(f'pipe.{one}' for one in used)}"
        )


def check_rows_are_candidates(pipe: Any) -> None:
    """Whether the rows that a pipeline's scheduler steps are its candidates.

    Raises:
        ValueError: where they are the frames of a clip.
    """
    if compat.steps_frames_as_rows(pipe):
        raise ValueError(
            f"{type(pipe).__name__} hands each frame of a clip to its scheduler as a row, so that a clip has no "
            "step of its own; use another scheduler, or the random strategy"
        )
