"""Function evaluations of a pipeline, counted where they are made.

What counts: a forward of a network that is called with the time and returns a prediction, once for each row: the
denoisers of every stage (priors and decoders that diffuse included, each at its own size), and what a guidance or a
hook adds. What does not: a ControlNet, which returns residuals; its forward is part of the evaluation that takes them,
so that a guided step costs two NFEs with or without it. Nor text encoders, safety checkers, or an autoencoder.
Forwards that raise, out of memory for one, are not counted: they evaluated nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from .denoiser_hook import DenoiserHook, attach
from .networks import timed_networks


class EvaluationCounter(DenoiserHook):
    """Tells the rows of each evaluation of a network.

    Args:
        tell: is called with the number of rows, after each forward that returned a prediction.
    """

    place = 0

    def __init__(self, tell: Callable[[int], None]):
        super().__init__()
        self._tell = tell

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        output = self.fn_ref.original_forward(*args, **kwargs)
        if rows := predicted_rows(output, [*args, *kwargs.values()]):
            self._tell(rows)
        return output


def predicted_rows(output: Any, inputs: list[Any]) -> int:
    """Rows of a prediction; 0 for an output that is none.

    Args:
        output: of a network's forward: a tensor, or a tuple or an output class that begins with the prediction.
        inputs: what the network was called with. A list of tensors is a prediction where samples came as a list of as
            many (Z-Image); else it is a ControlNet's residuals.
    """
    if isinstance(output, dict) or (isinstance(output, tuple) and output):  # diffusers' output classes are dicts
        first = next(iter(output.values()), None) if isinstance(output, dict) else output[0]
    else:
        first = output
    if isinstance(first, Tensor):
        return len(first) if not _is_plain_dict(output) else 0
    if isinstance(first, (list, tuple)) and first and isinstance(first[0], Tensor):
        samples = next((one for one in inputs if _is_sample(one)), None)
        return len(first) if isinstance(samples, (list, tuple)) and len(samples) == len(first) else 0
    return 0


def _is_plain_dict(output: Any) -> bool:
    """Residuals by layer, and no output class."""
    return type(output) is dict


def _is_sample(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return bool(value) and isinstance(value[0], Tensor)
    return isinstance(value, Tensor) and value.ndim > 1


@contextmanager
def count_evaluations(owner: Any, tell: Callable[[int], None]) -> Iterator[None]:
    """Count the evaluations of every denoiser of a pipeline while the context is open.

    Args:
        owner: a pipeline or a network.
        tell: is called with the rows of each evaluation.
    """
    with ExitStack() as stack:
        for network in timed_networks(owner):
            stack.callback(attach(network, EvaluationCounter(tell)).remove)
        yield
