"""Any function as a verifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from .base import Verifier


class CallableVerifier(Verifier):
    """What a function of images and prompts returns.

    NaN and -inf pass: a search records such a candidate as lost, with its reason. +inf raises, as it would win.

    Range: the function's. Differentiable where it is said to be. Licence: that of whatever the function runs.

    Args:
        function: takes images (batch, 3, height, width) in [0, 1], a copy of its own, and a list of prompts, one per
            image; returns a number per image, higher is better: a list, an array or a tensor (batch,). A score must
            depend on its own image and prompt alone.
        name: of its scores; the function's own name when None.
        differentiable: whether gradients flow through the function; without it, it runs under `no_grad`.
        scale: typical size of a score.
        batch_size: images per call.
        takes_clips: whether the function takes clips, (batch, frames, 3, height, width), and returns a number per clip.

    Raises:
        ValueError: where `function` cannot be called.
    """

    def __init__(
        self,
        function: Callable[[Tensor, list[str]], Any],
        name: str | None = None,
        differentiable: bool = False,
        scale: float = 1.0,
        batch_size: int = 32,
        takes_clips: bool = False,
    ):
        if not callable(function):
            raise ValueError(f"{function!r} is no function; give a function of (images, prompts) that returns scores")
        self.function = function
        self.name = name or str(getattr(function, "__name__", type(function).__name__))
        self.differentiable = differentiable
        self.scale = scale
        self.batch_size = batch_size
        self.takes_clips = takes_clips

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        return self.function(images, list(prompts))
