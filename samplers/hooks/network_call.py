"""A call of a denoiser by the names of its arguments: the same call for some of its rows, and its prediction.

Rows are sliced by name: a tensor belongs to rows where its first dimension is theirs, and its argument is none that
holds positions or masks (`compat.NO_ROWS`), whatever its length.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .. import compat
from .networks import argument_names, time_arguments


@dataclass(frozen=True)
class NetworkCall:
    """What a denoiser is called with.

    Attributes:
        module: the denoiser.
        args: positional arguments.
        kwargs: those by name.
        names: of the positional arguments, the sample's first.
        times: names of the arguments that are times.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: tuple[str, ...]
    times: tuple[str, ...]

    @classmethod
    def of(cls, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> NetworkCall:
        """The call of a module, by the signature of its class."""
        return cls(module, args, kwargs, tuple(argument_names(module)), tuple(time_arguments(module)))

    @property
    def arguments(self) -> dict[str, Any]:
        """By name."""
        return {**dict(zip(self.names, self.args, strict=False)), **self.kwargs}

    @property
    def sample(self) -> Any:
        """What is denoised, (rows, ...); of pipelines that pass lists, a list."""
        return self.arguments.get(self.names[0])

    @property
    def rows(self) -> int:
        """Rows of the sample."""
        return len(self.sample)

    @property
    def timestep(self) -> Any:
        """The time in the unit in which this network takes it, a number or a tensor of one or of each row's."""
        return self.arguments.get(self.times[0]) if self.times else None

    @property
    def condition(self) -> Tensor | None:
        """A vector of the text for each row (`compat.pooled_condition`)."""
        return compat.pooled_condition(self.arguments)

    def half(self, second: bool) -> NetworkCall:
        """The same call for the first or the second half of the rows."""
        rows = self.rows
        positional = tuple(
            _halved(name, value, rows, second) for name, value in zip(self.names, self.args, strict=False)
        )
        named = {name: _halved(name, value, rows, second) for name, value in self.kwargs.items()}
        return replace(self, args=positional, kwargs=named)

    def halves_differ(self) -> bool:
        """Whether the second half is the first one's sample under another condition, as guidance makes it.

        Reads values: one host sync.
        """
        first, second = self.half(False), self.half(True)
        pairs = list(zip(_tensors(first.arguments), _tensors(second.arguments), strict=True))
        same = [left.shape == right.shape and torch.equal(left, right) for left, right in pairs]
        return torch.equal(first.sample, second.sample) and not all(same)


def prediction_of(output: Any) -> Tensor | None:
    """The prediction in an output: a tensor, or the first of a tuple or of an output class; None where it is none."""
    if isinstance(output, dict):
        output = next(iter(output.values()), None)
    elif isinstance(output, (tuple, list)):
        output = output[0] if output else None
    return output if isinstance(output, Tensor) else None


def with_prediction(output: Any, prediction: Tensor, rest: Callable[[Tensor], Tensor] | None = None) -> Any:
    """An output of the same form with another prediction.

    Args:
        output: of a network.
        prediction: what takes the place of its first tensor.
        rest: what becomes of its other tensors; as they are by default.
    """

    def other(value: Any) -> Any:
        return rest(value) if rest is not None and isinstance(value, Tensor) else value

    if isinstance(output, Tensor):
        return prediction
    if isinstance(output, dict):
        first = next(iter(output))
        return type(output)(**{name: prediction if name == first else other(one) for name, one in output.items()})
    return type(output)([prediction, *map(other, output[1:])])


def _halved(name: str, value: Any, rows: int, second: bool) -> Any:
    """An argument for half of the rows."""
    if name in compat.NO_ROWS:
        return value
    if isinstance(value, Tensor):
        dim = 1 if name in compat.ROWS_SECOND else 0
        length = value.shape[dim] if value.ndim > dim else 0
        belongs = length == rows or (name in compat.ROWS_AND_FRAMES and length > 0 and length % rows == 0)
        return value.narrow(dim, length // 2 if second else 0, length // 2) if belongs else value
    if isinstance(value, dict):
        return {key: _halved(str(key), one, rows, second) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_halved("", one, rows, second) for one in value)
    return value


def _tensors(value: Any) -> list[Tensor]:
    """All tensors in nested arguments, in their order."""
    if isinstance(value, Tensor):
        return [value]
    members = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for one in members for tensor in _tensors(one)]
