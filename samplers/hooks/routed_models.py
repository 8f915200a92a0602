"""Several denoisers of one latent space behind one call, each row of the batch through its own.

Seam: the pipeline's denoiser, in whose place they are set. Cost: as many evaluations as there are rows.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map_with_path, tree_unflatten

from .. import compat


class RoutedModels(nn.Module):
    """What `routes` says of the rows of a call; what a pipeline asks of its denoiser otherwise is the first model's.

    Args:
        models: of one class, latent space and prediction type.

    Raises:
        ValueError: for less than two models, or models of different classes or sizes of latents.
    """

    use = "put behind one call"
    """What the models are for, in a sentence of refusal."""

    def __new__(cls, models: Sequence[nn.Module] = (), *args: Any, **kwargs: Any) -> Any:
        """An instance of a class made for the models' own, whose `forward` has their signature and is known by it."""
        kind = type(models[0]) if len(models) else None
        return super().__new__(cls if kind is None else _made_for(cls, kind))

    def __init__(self, models: Sequence[nn.Module]):
        super().__init__()
        if len(models) < 2:
            raise ValueError(f"{len(models)} models are nothing to {self.use}; give two or more")
        first = models[0]
        for other in models[1:]:
            if type(other) is not type(first):
                raise ValueError(
                    f"a {type(other).__name__} and a {type(first).__name__} are called in different ways; give models "
                    "of one class"
                )
            for name in ("in_channels", "out_channels"):
                theirs, own = (_config(one).get(name) for one in (other, first))
                if theirs != own:
                    raise ValueError(f"{name} is {own} and {theirs}: the models do not share a latent space")
        self.models = nn.ModuleList(models)

    def __getattr__(self, name: str) -> Any:
        """What torch does not find here is the first model's, but for what libraries leave on it (hooks)."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "models" or name.startswith("_"):
                raise
            models: Any = super().__getattr__("models")
            return getattr(models[0], name)

    def routes(self, rows: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[int]:
        """Number of the model of each row of a call."""
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Predict: arguments are a model's, with the batch first in all that has a row each."""
        rows = _rows(args, kwargs)
        routes = self.routes(rows, args, kwargs)
        if len(used := sorted(set(routes))) == 1:
            return self.models[used[0]](*args, **kwargs)
        outputs, places = [], []
        for number in used:
            chosen = [row for row, route in enumerate(routes) if route == number]

            def taken(path: Any, value: Any, chosen: list[int] = chosen) -> Any:
                return value[chosen] if _is_of_rows(path, value, rows) else value

            own_args, own_kwargs = tree_map_with_path(taken, (args, kwargs))
            outputs.append(self.models[number](*own_args, **own_kwargs))
            places.extend(chosen)
        order = sorted(range(rows), key=places.__getitem__)
        leaves = [tree_flatten(output) for output in outputs]
        joined = [torch.cat(parts)[order] for parts in zip(*(flat for flat, _ in leaves), strict=True)]
        return tree_unflatten(joined, leaves[0][1])


def _config(model: Any) -> Mapping[str, Any]:
    """A model's config; one of a user's own may have none."""
    return getattr(model, "config", {})


_MADE: dict[tuple[type, type], type] = {}


def _made_for(cls: type[RoutedModels], kind: type[nn.Module]) -> type[RoutedModels]:
    """The class of routed models of a class."""
    if (cls, kind) not in _MADE:

        @functools.wraps(kind.forward)
        def forward(self: RoutedModels, *args: Any, **kwargs: Any) -> Any:
            return RoutedModels.forward(self, *args, **kwargs)

        _MADE[cls, kind] = type(cls.__name__, (cls,), {"forward": forward, "__doc__": cls.__doc__})
    return _MADE[cls, kind]


def _rows(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Rows of the batch: those of the first tensor that is no scalar."""
    return next(len(value) for value in (*args, *kwargs.values()) if isinstance(value, Tensor) and value.ndim > 1)


def _is_of_rows(path: Any, value: Any, rows: int) -> bool:
    shared = compat.SHARED_BY_ROWS & {getattr(step, "key", None) for step in path}
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows and not shared
