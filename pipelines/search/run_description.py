"""The description of a run in `run.json`: a folder goes on with a run of the same description, and with no other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image
from torch import nn

from ...verifiers import Verifier
from ...verifiers.identity import describe as describe_thing
from ...verifiers.identity import hash_weights
from ..step_noise import schedulers
from .scoring import judge_name

_HASHED: WeakKeyDictionary[nn.Module, tuple[Any, str]] = WeakKeyDictionary()
"""Hashes of modules, with the state that their tensors were in."""


def describe_model(pipe: Any) -> dict[str, Any]:
    """The description of what makes the images: classes, the scheduler's config, and the weights by their hashes.

    A name tells little: another folder may have it, and weights change. About a second for each GB of weights, once.
    """
    parts = schedulers(pipe)
    return {
        "pipeline": type(pipe).__name__,
        "model": _portable(pipe.config.get("_name_or_path")),
        "weights": weights_of(pipe),
        "scheduler": ", ".join(type(scheduler).__name__ for scheduler in parts),
        "scheduler_config": _config(parts[0]) if len(parts) == 1 else [_config(scheduler) for scheduler in parts],
        "dtype": str(pipe.dtype),
        "device": str(getattr(pipe, "_execution_device", "cpu")),
    }


def _config(scheduler: Any) -> dict[str, Any]:
    return {key: describe(one) for key, one in sorted(dict(scheduler.config).items()) if not key.startswith("_")}


def describe_verifiers(guide: Verifier, judge: Verifier | None) -> dict[str, Any]:
    """The description of who scores: the names of the scores, and all that decides them."""
    return {
        "verifier": guide.name,
        "verifier_identity": guide.identity(),
        "judge": None if judge is None else judge_name(guide, judge),
        "judge_identity": None if judge is None else judge.identity(),
    }


def describe_versions() -> dict[str, str]:
    """Versions of the libraries, for the reader: they are not compared."""
    return {name: version(name) for name in ("torch", "diffusers", "transformers")}


def weights_of(pipe: Any) -> dict[str, str]:
    """Hashes of a pipeline's modules, by component."""
    modules = {name: one for name, one in sorted(pipe.components.items()) if isinstance(one, nn.Module)}
    return {name: f"sha256:{_hash(module)}" for name, module in modules.items()}


def _hash(module: nn.Module) -> str:
    """Hash of a module; one that has not changed since is not read again."""
    try:
        state = [(name, one.data_ptr(), one._version) for name, one in module.state_dict(keep_vars=True).items()]
    except (RuntimeError, AttributeError):  # tensors that count no versions, or are no plain ones
        return hash_weights(module)
    before = _HASHED.get(module)
    if before is None or before[0] != state:
        _HASHED[module] = before = (state, hash_weights(module))
    return before[1]


def describe(value: Any) -> Any:
    """A JSON value that stands for an argument of a call: images, tensors and arrays by their hash."""
    if isinstance(value, Mapping):
        return {str(key): describe(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(one) for one in value]
    if isinstance(value, Image.Image):
        pixels = np.ascontiguousarray(np.asarray(value)).tobytes() + bytes(value.getpalette() or ())
        return f"{value.mode} {value.size} sha256:{hashlib.sha256(pixels).hexdigest()[:16]}"
    return describe_thing(value)


def _portable(name: Any) -> str | None:
    """A model's name without this machine's path."""
    return None if name is None else Path(str(name)).name if Path(str(name)).is_dir() else str(name)


def differences(before: Any, now: Any, path: str = "") -> list[str]:
    """How two descriptions differ, a sentence for each place."""
    if isinstance(before, dict) and isinstance(now, dict):
        lists = (
            differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
            for key in sorted({*before, *now})
        )
        return [one for several in lists for one in several]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [
            one for k, pair in enumerate(zip(before, now, strict=True)) for one in differences(*pair, f"{path}[{k}]")
        ]
    return [] if before == now else [f"{path} was {before!r}, now {now!r}"]
