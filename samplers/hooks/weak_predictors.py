"""Weak predictions r of a denoiser, from which weak-to-strong guidance leads away: trained, skipping layers, another's.

A weak predictor sees the conditional rows of a call alone, after the denoiser's own prediction for them was made.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from diffusers.utils.torch_utils import unwrap_module
from torch import Tensor, nn

from .. import compat
from .denoiser_hook import DenoiserHook, attach
from .network_call import NetworkCall, prediction_of

_SKIPS = "skip_layers"
"""Argument of denoisers that skip layers by themselves."""

_BLOCKS = ("transformer_blocks", "single_transformer_blocks", "blocks", "layers", "visual_transformer_blocks")
"""Lists of blocks by which transformers of diffusers go."""


@dataclass(frozen=True)
class Conditional:
    """What a weak predictor sees.

    Attributes:
        call: of the denoiser, for the conditional rows.
        prediction: c, the denoiser's for them.
        guidance_scale: w at which the guided prediction is wanted; raises where it is not known.
        forward: evaluates the denoiser, which counts as NFEs.
    """

    call: NetworkCall
    prediction: Tensor
    guidance_scale: Callable[[], float]
    forward: Callable[[NetworkCall], Any]


@runtime_checkable
class Weak(Protocol):
    """A weak predictor."""

    def predict(self, conditional: Conditional) -> Tensor:
        """r, of the prediction's shape."""

    def check(self, module: nn.Module) -> None:
        """Whether it can serve a denoiser.

        Raises:
            ValueError: where it cannot.
        """


class FromPrediction:
    """A network that makes the guided prediction of the conditional one: CoRe²'s reflect phase (arXiv 2503.09662).

    It evaluates no denoiser, so it costs no NFE.

    Args:
        model: called with `prediction` (rows, ...), `sample` of its shape, `timestep` as the denoiser takes it,
            `condition` (rows, width), and `guidance_scale`, a number; returns r in the prediction's shape. Such as
            `models.weak_model.WeakModel`, whose config tells the `guidance_range` that it was trained on.
    """

    def __init__(self, model: Callable[..., Tensor]):
        self.model = model
        self._warned = False

    def predict(self, conditional: Conditional) -> Tensor:
        scale = conditional.guidance_scale()
        self._warn_outside(scale)
        call = conditional.call
        weak = self.model(
            prediction=conditional.prediction,
            sample=call.sample,
            timestep=call.timestep,
            condition=call.condition,
            guidance_scale=scale,
        )
        if weak.shape != conditional.prediction.shape:
            raise ValueError(
                f"the weak model predicts {tuple(weak.shape)} and the denoiser {tuple(conditional.prediction.shape)}; "
                "give one that was trained for this denoiser"
            )
        return weak

    def check(self, module: nn.Module) -> None:
        """Any denoiser: what does not fit shows in the shapes of the first call."""

    def _warn_outside(self, scale: float) -> None:
        trained = getattr(getattr(self.model, "config", None), "guidance_range", None)
        if trained is None or self._warned or trained[0] <= scale <= trained[1]:
            return
        self._warned = True
        warnings.warn(
            f"the weak model was trained on guidance scales from {trained[0]:g} to {trained[1]:g} and is asked for "
            f"{scale:g}: its prediction there is a guess",
            stacklevel=2,
        )


def as_weak(weak: Weak | Callable[..., Any]) -> Weak:
    """A weak predictor, of a model too (`FromPrediction`)."""
    return weak if isinstance(weak, Weak) else FromPrediction(weak)


class SkippedLayers:
    """The denoiser itself with some of its transformer blocks skipped (SGG, arXiv 2603.20584; skip-layer guidance).

    Costs a forward of the conditional rows without those blocks, which counts as one NFE for each. A compiled
    denoiser that does not skip by itself is compiled again where blocks come off and on.

    Args:
        layers: indices of the blocks; SGG skips 7, 8 and 9 of the 24 of Stable Diffusion 3.5 medium.
        blocks: name of the list of blocks; found for transformers of diffusers.

    Raises:
        ValueError: for no layers, or negative ones.
    """

    def __init__(self, layers: Sequence[int], blocks: str | None = None):
        if not layers or min(layers) < 0:
            raise ValueError(f"layers are {list(layers)}; give indices of blocks, from 0")
        self.layers = tuple(layers)
        self.blocks = blocks

    def predict(self, conditional: Conditional) -> Tensor:
        call = conditional.call
        if _SKIPS in call.names:  # the denoiser skips by itself (Stable Diffusion 3)
            output = conditional.forward(replace(call, kwargs={**call.kwargs, _SKIPS: list(self.layers)}))
        else:
            with self._skipping(call.module):
                output = conditional.forward(call)
        weak = prediction_of(output)
        assert weak is not None
        return weak

    def check(self, module: nn.Module) -> None:
        self._chosen(module)

    @contextmanager
    def _skipping(self, module: nn.Module) -> Iterator[None]:
        _, blocks = self._chosen(module)
        with ExitStack() as stack:
            for index in self.layers:
                stack.callback(attach(blocks[index], _SkippedBlock()).remove)
            yield

    def _chosen(self, module: nn.Module) -> tuple[str, nn.ModuleList]:
        """Name and list of the blocks."""
        network = unwrap_module(module)
        names = _BLOCKS if self.blocks is None else (self.blocks,)
        found = [(name, one) for name in names if isinstance(one := getattr(network, name, None), nn.ModuleList)]
        if not found:
            raise ValueError(
                f"{type(network).__name__} has no list of transformer blocks to skip in; give its name as blocks=, or "
                "another weak prediction"
            )
        name, blocks = found[0]
        if max(self.layers) >= len(blocks):
            raise ValueError(
                f"{name} of {type(network).__name__} has {len(blocks)} layers; skip some of 0 to {len(blocks) - 1}"
            )
        return name, blocks


class _SkippedBlock(DenoiserHook):
    """Hands a block's inputs on."""

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return compat.skipped_block(module, args, kwargs)


class OtherNetwork:
    """Another denoiser of the same form: a smaller or less trained one (AutoGuidance, W2SD arXiv 2502.00473).

    Costs a forward of it. That is counted where the network is counted, as by `count_evaluations([pipe, network],
    ...)`.

    Args:
        network: takes what the pipeline's own denoiser takes.
    """

    def __init__(self, network: nn.Module):
        self.network = network

    def predict(self, conditional: Conditional) -> Tensor:
        weak = prediction_of(self.network(*conditional.call.args, **conditional.call.kwargs))
        if weak is None:
            raise ValueError(f"{type(self.network).__name__} returned no prediction")
        return weak

    def check(self, module: nn.Module) -> None:
        """Any denoiser: what does not fit shows in the first call."""
