"""What a teacher's pipeline gives to distillation: its denoiser, conditions as it encodes them, and its own samples.

Conditions are read where the denoiser gets them, in the first model call of the pipeline's own call, which is not made:
so labels and texts of any pipeline are read alike.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from ...pipelines.dry_run import first_model_call
from ...pipelines.multi_student import denoiser_of
from ...samplers.compat import is_linear_flow
from ...samplers.hooks.network_call import NetworkCall
from .denoiser import Condition, Denoiser
from .examples import Examples
from .ode_pairs import solve

ENCODED_AT_ONCE = 32
SAMPLED_AT_ONCE = 64


def teacher_of(pipe: Any) -> Denoiser:
    """The pipeline's denoiser, in evaluation mode and without gradients.

    Raises:
        ValueError: for a pipeline with no single denoiser, or a scheduler whose path is not known.
    """
    network = getattr(pipe, denoiser_of(pipe))
    return Denoiser.of(network.eval().requires_grad_(False), pipe.scheduler)


@torch.no_grad()
def encode(
    pipe: Any, name: str, values: Sequence[Any], arguments: Mapping[str, Any], scale: float
) -> tuple[Condition, Condition | None, tuple[int, ...]]:
    """Conditions as the denoiser gets them.

    Args:
        pipe: the teacher's pipeline.
        name: of the argument that says what is to be shown: class_labels or prompt.
        values: of that argument, one for each row.
        arguments: others of the call.
        scale: of guidance.

    Returns:
        the condition of each row, the condition that says nothing, (1, ...), where `scale` is not 1, and the shape of
        a sample.

    Raises:
        ValueError: where the denoiser is told of rows in a way that is not known here.
    """
    parts: list[dict[str, Tensor]] = []
    null: Condition | None = None
    shape: tuple[int, ...] = ()
    for start in range(0, len(values), ENCODED_AT_ONCE):
        chunk = list(values[start : start + ENCODED_AT_ONCE])
        generators = [torch.Generator().manual_seed(row) for row in range(len(chunk))]
        call = first_model_call(pipe, {**arguments, name: chunk, "generator": generators, "guidance_scale": scale})
        shape = tuple(call.sample.shape[1:])
        if call.rows == 2 * len(chunk):
            null = {key: value[:1].cpu() for key, value in _condition(call.half(False), len(chunk)).items()}
            call = call.half(True)
        elif scale != 1:
            raise ValueError(
                f"{type(pipe).__name__} does not call its denoiser with and without the condition at guidance scale "
                f"{scale:g}: its guidance is its own, distil it at scale 1"
            )
        parts.append(_condition(call, len(chunk)))
    condition = {key: torch.cat([part[key] for part in parts]).cpu() for key in parts[0]}
    return condition, null, shape


def _condition(call: NetworkCall, rows: int) -> dict[str, Tensor]:
    """What a call says of its rows, beside sample and time.

    Raises:
        ValueError: for tensors that are not rows', or nested ones.
    """
    found = {}
    for name, value in call.arguments.items():
        if name in (call.names[0], *call.times) or value is None or isinstance(value, (bool, int, float, str)):
            continue
        if not isinstance(value, Tensor) or value.ndim == 0 or len(value) != rows:
            raise ValueError(
                f"the denoiser is called with {name}, which is no tensor with an entry for each row: such pipelines "
                "cannot be distilled by this command yet; give `distil` conditions of your own"
            )
        found[name] = value
    return found


def teacher_times(scheduler: Any, steps: int) -> tuple[float, ...]:
    """Times on the path at which the teacher is called in a run of that many steps of its own scheduler."""
    scheduler.set_timesteps(steps)
    times = scheduler.sigmas[:-1] if is_linear_flow(scheduler) else scheduler.timesteps
    return tuple(float(t) for t in times)


def sample_teacher(
    teacher: Denoiser,
    condition: Condition,
    null: Condition | None,
    shape: tuple[int, ...],
    times: Sequence[float],
    scale: float,
    seed: int,
    cache: Path,
) -> Examples:
    """A sample of the teacher for each condition, with the noise that its ODE began with; once, and kept in a file.

    Args:
        teacher: the denoiser.
        condition: of the rows.
        null: the condition that says nothing, (1, ...).
        shape: of a sample.
        times: of the teacher's steps.
        scale: of guidance.
        seed: of the noises; row k's is the same however many rows there are.
        cache: the file, written in one move.

    Raises:
        ValueError: where the file holds another number of examples.
    """
    count = len(next(iter(condition.values())))
    with FileLock(cache.with_suffix(".lock")):  # of the processes of a run, or of students side by side, one makes them
        if not cache.exists():
            generator = torch.Generator().manual_seed(seed)
            noise = torch.stack([torch.randn(shape, generator=generator) for _ in range(count)])
            made = []
            for rows in torch.arange(count).split(SAMPLED_AT_ONCE):
                own = {name: value[rows] for name, value in condition.items()}
                nothing = None
                if null is not None:
                    nothing = {name: value.expand(len(rows), *value.shape[1:]) for name, value in null.items()}
                made.append(solve(teacher, noise[rows], times, own, nothing, scale))
            part = cache.with_suffix(".part")
            torch.save({"x0": torch.cat(made), "condition": dict(condition), "null": null, "noise": noise}, part)
            os.replace(part, cache)
    saved = torch.load(cache, weights_only=True)
    if len(saved["x0"]) != count:
        raise ValueError(f"{cache} holds {len(saved['x0'])} examples, not {count}; name another folder")
    return Examples(saved["x0"], saved["condition"], saved["null"], saved["noise"])
