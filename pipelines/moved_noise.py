"""Initial noises that are no seed's own: a pipeline's own noise, turned towards others of its own.

Seam: `prepare_latents`, shadowed on the instance while a batch runs. The pipeline draws, scales and packs as ever, once
for each seed involved; the results are combined. So it is right for packed latents (FLUX) and for scaled ones (Euler).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch

from ..samplers.noise import rotate
from ..samplers.strategies.base import Move
from .shadow import shadowed

Lineage = Sequence[Move]


def check_moves_noise(pipe: Any) -> None:
    """Whether a pipeline's initial noise can be moved.

    Raises:
        ValueError: where it cannot, with the reason.
    """
    prepare = getattr(type(pipe), "prepare_latents", None)
    if prepare is None:
        raise ValueError(
            f"{type(pipe).__name__} has no prepare_latents, so its noise cannot be moved; use the random strategy"
        )
    if {"image", "timestep"} & set(inspect.signature(prepare).parameters):
        raise ValueError(
            f"{type(pipe).__name__} starts from a noised picture and not from noise; use the random strategy"
        )


@contextmanager
def moved_noise(pipe: Any, seeds: Sequence[int], lineages: Sequence[Lineage]) -> Iterator[None]:
    """Let row k start from seed k's own noise, moved along lineage k.

    Args:
        pipe: a diffusers pipeline; it is as it was afterwards.
        seeds: one a row.
        lineages: moves of each row; rows without any are left alone, bit for bit.

    Raises:
        ValueError: for a pipeline whose noise cannot be moved, where a row has moves.
    """
    if not any(lineages):
        yield
        return
    check_moves_noise(pipe)
    signature = inspect.signature(pipe.prepare_latents)

    def prepare_latents(original: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs)

        def draw(row_seeds: Sequence[int]) -> Any:
            arguments.arguments["generator"] = [torch.Generator().manual_seed(seed) for seed in row_seeds]
            return original(*arguments.args, **arguments.kwargs)

        start = draw(seeds)
        latents = start[0] if isinstance(start, tuple) else start
        for depth in range(max(map(len, lineages))):
            moves = [
                lineage[depth] if depth < len(lineage) else (seed, 0.0)
                for seed, lineage in zip(seeds, lineages, strict=True)
            ]
            towards = draw([seed for seed, _ in moves])
            towards = towards[0] if isinstance(towards, tuple) else towards
            latents = rotate(latents, towards, [angle for _, angle in moves])
        return (latents, *start[1:]) if isinstance(start, tuple) else latents

    with shadowed(pipe, "prepare_latents", prepare_latents):
        yield


class _Reached(Exception):
    """Ends a pipeline's call where its latents are ready."""


def initial_latents(pipe: Any, seed: int, lineage: Lineage, arguments: dict[str, Any]) -> torch.Tensor:
    """What `latents=` of the plain pipeline must be for a candidate, (1, ...).

    Args:
        pipe: the pipeline.
        seed, lineage: the candidate's.
        arguments: of the pipeline's call.

    Raises:
        ValueError: for a pipeline that takes no `latents=`, or whose noise cannot be moved.
    """
    if "latents" not in inspect.signature(type(pipe).__call__).parameters:
        raise ValueError(f"{type(pipe).__name__} takes no latents=; make the image again with reproduce(pipe)")
    check_moves_noise(pipe)
    found: list[torch.Tensor] = []

    def stop(original: Any, *args: Any, **kwargs: Any) -> Any:
        out = original(*args, **kwargs)
        # A pipeline that is given latents scales them itself.
        found.append((out[0] if isinstance(out, tuple) else out) / getattr(pipe.scheduler, "init_noise_sigma", 1.0))
        raise _Reached

    stopped = shadowed(pipe, "prepare_latents", stop)
    with moved_noise(pipe, [seed], [lineage]), stopped, suppress(_Reached), torch.no_grad():
        pipe(**arguments, generator=[torch.Generator().manual_seed(seed)])
    return found[0]
