"""What a scheduler keeps for each row of its batch between steps, and how rows of several runs go on as one batch.

Which of a scheduler's tensors belong to rows is not guessed by shapes: those that a new scheduler has, or that
`set_timesteps` wrote, are the run's; those that steps left are the rows'.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from . import compat
from .wrapped import innermost


def run_tables(scheduler: Any, before: Mapping[str, Any]) -> frozenset[str]:
    """Attributes that hold tensors and belong to the run as a whole, not to rows: known before the first step.

    They are those that a scheduler has when it is made, and those that `set_timesteps` wrote. Every other tensor that
    it holds later was left by a step, for the batch of that step.

    Args:
        scheduler: whose timesteps were just set.
        before: its attributes before that.
    """
    inner = innermost(scheduler)
    takes = inspect.signature(type(inner).__init__).parameters
    fresh = type(inner)(**{name: value for name, value in inner.config.items() if name in takes})
    written = {name: value for name, value in vars(scheduler).items() if value is not before.get(name)}
    return frozenset(name for name, value in (*vars(fresh).items(), *written.items()) if _holds_rows(value))


def row_state(scheduler: Any, tables: frozenset[str]) -> dict[str, Any]:
    """What a scheduler keeps for each row of its batch between steps: one entry of a tensor, one generator.

    Args:
        scheduler: in a run.
        tables: of the run, as `run_tables` found them.

    Returns:
        by the attributes' names: tensors (batch, ...), lists of generators, or lists of these with None between.
    """
    return {name: value for name, value in vars(scheduler).items() if name not in tables and _holds_rows(value)}


def _holds_rows(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim > 0
    return isinstance(value, torch.Generator) or (isinstance(value, (list, tuple)) and any(map(_holds_rows, value)))


def gather_rows(
    schedulers: Sequence[Any], rows: Sequence[Sequence[int]], sizes: Sequence[int], tables: frozenset[str]
) -> None:
    """Put chosen rows of what schedulers keep into the first of them.

    Args:
        schedulers: of one class, in the same step of runs of the same times.
        rows: chosen of each, in their order in the batch to come.
        sizes: rows that each has.
        tables: of the runs.

    Raises:
        ValueError: where the runs' times differ, or a state is kept for the batch as a whole.
    """
    first = schedulers[0]
    compat.check_noise_by_row(innermost(first))
    for name in tables:
        values = [vars(one)[name] for one in schedulers]
        if isinstance(values[0], Tensor) and not all(_same(values[0], value) for value in values[1:]):
            raise ValueError(
                "the batches stand at different times, so their rows cannot be joined; make one batch of them"
            )
    for name in row_state(first, tables):
        vars(first)[name] = _gathered(name, [vars(one)[name] for one in schedulers], rows, sizes)


def _same(one: Tensor, other: Tensor) -> bool:
    """Whether two tables are equal; KDPM2's hold NaN where it has no time between its sigmas."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


def _gathered(name: str, values: Sequence[Any], rows: Sequence[Sequence[int]], sizes: Sequence[int]) -> Any:
    first = values[0]
    by_row = isinstance(first, Tensor) and first.ndim > 0
    by_row = by_row or (isinstance(first, (list, tuple)) and all(isinstance(one, torch.Generator) for one in first))
    if not by_row:
        if not isinstance(first, (list, tuple)):
            return first
        return type(first)(_gathered(name, entries, rows, sizes) for entries in zip(*values, strict=True))
    if any(len(own) != size for own, size in zip(values, sizes, strict=True)):
        raise ValueError(f"{name} of the scheduler is kept for the batch as a whole, so no row can go on alone")
    if isinstance(first, Tensor):
        return torch.cat([own[list(some)] for own, some in zip(values, rows, strict=True)])
    return [own[k] for own, some in zip(values, rows, strict=True) for k in some]
