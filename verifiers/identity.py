"""What a verifier is, as JSON: it tells two verifiers with one name apart, and a resumed run recognises its own."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .base import Verifier

NO_MATTER = frozenset({"name", "scale", "batch_size", "differentiable", "device"})
"""Arguments of constructors that do not change scores."""

DIGITS = 16
"""Hexadecimal digits of a hash that are kept."""


def told_apart(verifiers: Sequence[Verifier]) -> list[dict[str, str]]:
    """Distinct names for the scores of several verifiers.

    The first verifier with a name keeps it; later ones are called "name#2", "name#3", ..., even where the same object
    is given twice: the score of a judge never replaces that of the guide.

    Args:
        verifiers: in the order of their precedence: the guide before the judge.

    Returns:
        for each verifier, a dict from each name in its `score_names` to a name that no other has.
    """
    taken = {name for verifier in verifiers for name in verifier.score_names}
    seen: set[str] = set()
    renamed: list[dict[str, str]] = []
    for verifier in verifiers:
        names: dict[str, str] = {}
        for name in verifier.score_names:
            new, number = name, 2
            while new in seen or (new != name and new in taken):
                new, number = f"{name}#{number}", number + 1
            seen.add(new)
            names[name] = new
        renamed.append(names)
    return renamed


def constructor_settings(thing: Any, leave_out: Iterable[str] = NO_MATTER) -> dict[str, Any]:
    """The attributes of an object that are named as arguments of its constructor, as JSON.

    Other attributes (counters, caches) may change from call to call and are no settings.
    """
    return _constructor_settings(thing, frozenset(leave_out), frozenset({id(thing)}))


def describe(value: Any) -> Any:
    """Any value as JSON, equal for values that do the same, and without memory addresses.

    Modules and tensors are hashed (classes of all submodules, names, types, shapes and bytes, wherever they lie), code
    too with what it closes over; other objects are their class and their constructor's arguments.
    """
    return _describe(value, frozenset())


def _constructor_settings(thing: Any, leave_out: frozenset[str], above: frozenset[int]) -> dict[str, Any]:
    try:
        arguments = inspect.signature(type(thing).__init__).parameters
    except (TypeError, ValueError):
        return {}
    held = getattr(thing, "__dict__", {})
    return {name: _describe(held[name], above) for name in arguments if name in held and name not in leave_out}


def _describe(value: Any, above: frozenset[int]) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, (np.generic, Path, torch.dtype, torch.device)):
        return _describe(value.item(), above) if isinstance(value, np.generic) else str(value)
    if id(value) in above:
        return "itself"
    above = above | {id(value)}
    if isinstance(value, Mapping):
        return {str(key): _describe(item, above) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_describe(item, above) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_describe(item, above) for item in value), key=repr)
    if isinstance(value, (Tensor, np.ndarray)):
        return f"sha256:{_hash_tensors({'': torch.as_tensor(value)})}"
    if isinstance(value, nn.Module):
        return {"class": _qualified(type(value)), "weights": f"sha256:{hash_weights(value)}"}
    if hasattr(value, "identity") and callable(value.identity) and not isinstance(value, type):
        return value.identity()
    return _describe_code(value, above)


def _describe_code(value: Any, above: frozenset[int]) -> Any:
    if isinstance(value, MethodType):
        return {"method": value.__func__.__qualname__, "of": _describe(value.__self__, above)}
    if isinstance(value, functools.partial):
        return {
            "function": _describe(value.func, above),
            "arguments": _describe(value.args, above),
            "named": _describe(value.keywords, above),
        }
    if isinstance(value, FunctionType):
        enclosed = {
            name: _describe(cell.cell_contents, above)
            for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True)
            if _is_filled(cell)
        }
        defaults = _describe([value.__defaults__, value.__kwdefaults__], above)
        code = hashlib.sha256(_code_bytes(value.__code__)).hexdigest()[:DIGITS]
        description: dict[str, Any] = {"function": _qualified(value), "code": f"sha256:{code}"}
        description |= {"enclosed": enclosed} if enclosed else {}
        return description | ({"defaults": defaults} if any(defaults) else {})
    if isinstance(value, type) or inspect.isroutine(value):
        return _qualified(value)
    return {"class": _qualified(type(value)), **_constructor_settings(value, frozenset(), above)}


def hash_weights(module: nn.Module) -> str:
    """Hash of a module: the classes of its submodules and its state, wherever it lies."""
    classes = "".join(f"{path}:{type(part).__qualname__};" for path, part in module.named_modules())
    state = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    return _hash_tensors(state, classes)


def _hash_tensors(tensors: Mapping[str, Tensor], start: str = "") -> str:
    hashed = hashlib.sha256(start.encode())
    for name in sorted(tensors):
        value = tensors[name].detach()
        hashed.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        if value.device.type != "meta":
            hashed.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()[:DIGITS]


def _code_bytes(code: CodeType) -> bytes:
    return code.co_code + b"".join(map(_constant_bytes, code.co_consts)) + repr(code.co_names).encode()


def _constant_bytes(constant: Any) -> bytes:
    if isinstance(constant, CodeType):
        return _code_bytes(constant)
    if isinstance(constant, frozenset):  # whose order changes from process to process
        return repr(sorted(map(repr, constant))).encode()
    return repr(constant).encode()


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


def _qualified(thing: Any) -> str:
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", type(thing).__qualname__)
    return f"{module}.{name}" if module else name
