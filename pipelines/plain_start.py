"""Arguments with which the plain pipeline starts from a moved noise; trying tells which give its model the same."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from .dry_run import first_model_inputs, same_inputs
from .loop_schedulers import loop_schedulers
from .moved_noise import Lineage, TurnedDraws, turned_draws
from .shadow import shadowed
from .step_noise import draws_in_steps, schedulers


def plain_start(pipe: Any, seed: int, lineage: Lineage, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`latents=` and `generator=` of the plain pipeline for a candidate whose noise was moved; no NFE is spent.

    Pipelines take latents in a form of their own: as drawn (SD), packed (FLUX), before or after they are scaled. And a
    scheduler that draws noise must find the generator where the initial noise left it.

    Args:
        pipe: the pipeline.
        seed, lineage: the candidate's.
        arguments: of the pipeline's call, but for these two.

    Raises:
        ValueError: for a pipeline that takes no `latents=`, or not in a form that gives this start.
    """
    name = type(pipe).__name__
    if "latents" not in inspect.signature(type(pipe).__call__).parameters:
        raise ValueError(f"{name} takes no latents=; make the image again with reproduce(pipe)")
    if len(loop_schedulers(pipe)) > 1:
        raise ValueError(
            f"{name} runs several diffusions, each from a noise of its own, and latents= is one; make the "
            "image again with reproduce(pipe)"
        )
    generator = torch.Generator().manual_seed(seed)
    turned = TurnedDraws([generator], [lineage])
    with turned_draws(pipe, turned):
        moved = _start(pipe, {**arguments, "generator": generator})
    for latents in _forms(pipe, turned.drawn, moved.prepared):
        for start in (moved.state, moved.state_prepared, torch.Generator().manual_seed(seed).get_state()):
            again = torch.Generator()
            again.set_state(start)
            try:
                plain = _start(pipe, {**arguments, "latents": latents.clone(), "generator": again})
            except Exception:  # latents of another form than it takes
                break
            stands = torch.equal(plain.state, moved.state) or not any(map(draws_in_steps, schedulers(pipe)))
            if stands and same_inputs(moved.inputs, plain.inputs) and same_inputs(moved.prepared, plain.prepared):
                again.set_state(start)
                return {"latents": latents, "generator": again}
    raise ValueError(
        f"{name} cannot be started from this candidate's moved noise by latents= and generator= alone; make the image "
        "again with reproduce(pipe)"
    )


@dataclass
class _Start:
    """How a call of a pipeline starts.

    Attributes:
        inputs: of its first model call.
        prepared: what `prepare_latents` gave: some pipelines use its noise again in their steps.
        state, state_prepared: of the generator then, and right after `prepare_latents`.
    """

    inputs: list[Any]
    prepared: list[torch.Tensor]
    state: torch.Tensor
    state_prepared: torch.Tensor


def _start(pipe: Any, arguments: Mapping[str, Any]) -> _Start:
    generator = arguments["generator"]
    prepared: list[torch.Tensor] = []
    states: list[torch.Tensor] = []

    def prepare_latents(original: Any, *args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        states.append(generator.get_state())
        prepared.extend(part for part in (out if isinstance(out, tuple) else (out,)) if isinstance(part, torch.Tensor))
        return out

    has = hasattr(pipe, "prepare_latents")
    with shadowed(pipe, "prepare_latents", prepare_latents) if has else nullcontext():
        inputs = first_model_inputs(pipe, arguments)
    state = generator.get_state()
    return _Start(inputs, prepared, state, states[-1] if states else state)


def _forms(pipe: Any, drawn: list[torch.Tensor], prepared: list[torch.Tensor]) -> Iterator[torch.Tensor]:
    """What `latents=` might be: as drawn, or as prepared, before or after the scheduler's first scale."""
    yield from reversed(drawn)
    scale = getattr(pipe.scheduler, "init_noise_sigma", 1.0)
    for latents in prepared:
        yield latents
        yield latents / scale
