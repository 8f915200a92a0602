"""A pipeline's call up to its first model call: what the model would be given, without an NFE.

Seam: a forward hook of the denoisers that ends the call. Texts and pictures are encoded, noise is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from torch.utils._pytree import tree_leaves

from ..samplers.hooks.network_call import NetworkCall
from .counting import denoisers


class _Reached(Exception):
    """Ends a pipeline's call at its first model call."""


def first_model_inputs(pipe: Any, arguments: Mapping[str, Any]) -> list[Any]:
    """What the first model call of a pipeline's call is given, in its order.

    Tensors, lists of tensors as one, and plain values.

    Args:
        pipe: a diffusers pipeline.
        arguments: of its call.

    Raises:
        RuntimeError: for a call that ends without calling a denoiser.
        Exception: what the pipeline raises.
    """
    call = first_model_call(pipe, arguments)
    return tree_leaves([_stacked(value) for value in (*call.args, *call.kwargs.values())])


@torch.no_grad()
def first_model_call(pipe: Any, arguments: Mapping[str, Any]) -> NetworkCall:
    """The first model call of a pipeline's call, which is not made.

    Args:
        pipe: a diffusers pipeline.
        arguments: of its call.

    Raises:
        RuntimeError: for a call that ends without calling a denoiser.
        Exception: what the pipeline raises.
    """
    calls: list[NetworkCall] = []

    def stop(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(NetworkCall.of(module, args, kwargs))
        raise _Reached

    with ExitStack() as stack:
        for model in denoisers(pipe):  # before hooks of others, who would count a call that is not made
            stack.callback(model.register_forward_pre_hook(stop, with_kwargs=True, prepend=True).remove)
        with suppress(_Reached):
            pipe(**arguments)
            raise RuntimeError(f"{type(pipe).__name__} called no denoiser")
    if hasattr(pipe, "maybe_free_model_hooks"):
        pipe.maybe_free_model_hooks()  # else what is offloaded stays on the device
    return calls[0]


def _stacked(value: Any) -> Any:
    """A list of tensors as one tensor, with the list's place first; anything else as it is.

    Those of several lengths are filled up with zeros. Rows come in lists; sines and cosines of positions, for one, come
    in tuples.
    """
    tensors = isinstance(value, list) and value and all(isinstance(one, torch.Tensor) and one.ndim for one in value)
    return pad_sequence(value, batch_first=True) if tensors and len({one.shape[1:] for one in value}) == 1 else value


def same_inputs(one: list[Any], other: list[Any]) -> bool:
    """Whether two calls give the model the same: tensors to 1e-4 of their size, as batches change the last digits."""
    return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other, strict=True))


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return isinstance(one, torch.Tensor) == isinstance(other, torch.Tensor)
    return one.shape == other.shape and near(one, other)


def near(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors of one shape are equal but for rounding."""
    if not one.is_floating_point():
        return torch.equal(one, other)
    scale = float(one.float().abs().max()) if one.numel() else 0.0
    least = 1e-4 if one.dtype in (torch.float32, torch.float64) else 2e-2
    return torch.allclose(one.float(), other.float(), rtol=0, atol=least * scale, equal_nan=True)
