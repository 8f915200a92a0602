"""Initial noises that are no seed's own: a pipeline's own noise, turned towards the noise of other seeds.

Seam: `torch.randn` while the pipeline prepares its latents. What it draws there from a row's generator is turned before
the pipeline sees it, so that it packs, scales and adds to a picture as ever, and its generators stand where it left
them: what it draws before and after is what an unmoved row gets. Cost: a draw for each move.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch.overrides import TorchFunctionMode

from ..samplers.noise import rotate
from ..samplers.strategies.node import Turn
from .dry_run import first_model_inputs
from .shadow import shadowed
from .step_noise import before_first_model_call, step_noise

Lineage = Sequence[Turn]


class TurnedDraws(TorchFunctionMode):
    """While it is entered, what is drawn from a row's generator is turned along the row's moves.

    Attributes:
        drawn: the draws as the pipeline got them, in their order.
    """

    def __init__(self, generators: Sequence[torch.Generator], lineages: Sequence[Lineage]):
        super().__init__()
        # Their streams go on from one draw to the next, so that two draws of a row are not turned towards the same.
        self._moves = {
            id(generator): [(torch.Generator().manual_seed(seed), angle) for seed, angle in lineage]
            for generator, lineage in zip(generators, lineages, strict=True)
        }
        self.drawn: list[torch.Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        moves = self._moves.get(id(kwargs.get("generator"))) if func is torch.randn else None
        if moves is None:
            return out
        for towards, angle in moves:
            out = rotate(out[None], func(*args, **{**kwargs, "generator": towards})[None], angle)[0]
        self.drawn.append(out)
        return out


def check_moves_noise(pipe: Any, arguments: Mapping[str, Any]) -> None:
    """Whether a pipeline draws a noise that can be moved, by calling it up to its first model call; no NFE is spent.

    Args:
        pipe: a diffusers pipeline.
        arguments: of one candidate's call, but for its generator.

    Raises:
        ValueError: where it draws none, or in another way.
    """
    generator = torch.Generator().manual_seed(0)
    with step_noise(pipe, [0]), moved_noise(pipe, [generator], [[Turn(1, 0.5)]]):
        first_model_inputs(pipe, {**arguments, "generator": generator})


@contextmanager
def moved_noise(
    pipe: Any, generators: Sequence[torch.Generator], lineages: Sequence[Lineage]
) -> Iterator[TurnedDraws | None]:
    """Let row k start from the noise of generator k, moved along lineage k.

    Args:
        pipe: a diffusers pipeline; it is as it was afterwards.
        generators: those that its call is given, one per row.
        lineages: moves of each row; rows without any are left alone, bit for bit.

    Raises:
        ValueError: at the end of a call in which nothing was drawn that could be moved.
    """
    if not any(lineages):
        yield None
        return
    turned = TurnedDraws(generators, lineages)
    with turned_draws(pipe, turned):
        yield turned
    if not turned.drawn:
        raise ValueError(
            f"{type(pipe).__name__} does not draw its noise by torch.randn from generator=, so it cannot be moved; use "
            "the random strategy"
        )


def stages(pipe: Any) -> list[Any]:
    """The pipelines that prepare latents in a pipeline's call: itself, or those that it is combined of."""
    held = [pipe, *(part for part in vars(pipe).values() if isinstance(part, DiffusionPipeline))]
    return [stage for stage in held if hasattr(stage, "prepare_latents")]


@contextmanager
def turned_draws(pipe: Any, turned: TurnedDraws) -> Iterator[None]:
    """Enter `turned` where the pipeline prepares its latents: in `prepare_latents`, or before its first model call."""

    def prepare_latents(original: Any, *args: Any, **kwargs: Any) -> Any:
        with turned:
            return original(*args, **kwargs)

    preparing = stages(pipe)
    with ExitStack() as stack:
        for stage in preparing:
            stack.enter_context(shadowed(stage, "prepare_latents", prepare_latents))
        if not preparing:
            stack.enter_context(before_first_model_call(pipe, turned))
        yield
