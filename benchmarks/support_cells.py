"""What became of one check on one toy: a cell of the matrix; and what the package itself says of the toy."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from samplesmith.pipelines.support import METHODS, support
from support_toys import CANDIDATES, Fault, Stock, Toy, pictures
from support_watch import watched

PACKAGE = Path(inspect.getfile(importlib.import_module("samplesmith"))).parent


def cell(toy: Toy, check: Callable[[], None], several: bool = False) -> dict[str, Any]:
    """The outcome of a check: a run, a refusal before anything is paid for, or a fault.

    Args:
        toy, check: what is run.
        several: whether the check makes several pictures in one call, which the plain pipeline may not be able to.
    """
    count = 0
    try:
        with watched(toy.build()) as seen:
            try:
                check()
            finally:
                count = seen.evaluations
    except Fault as error:
        if several and not _makes_several(toy):
            return {"state": "stock", "why": "of several pictures the plain pipeline makes others than alone"}
        return {"state": "fault", "why": str(error)}
    except Stock as error:
        return {"state": "stock", "why": str(error)}
    except Exception as error:
        where = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
        ours = (
            where[-1].is_relative_to(PACKAGE) and "tests" not in where[-1].parts and "benchmarks" not in where[-1].parts
        )
        if isinstance(error, ValueError) and ours and not count:
            return {"state": "refused", "why": str(error)}
        if several and isinstance(error, RuntimeError) and not _makes_several(toy):
            return {
                "state": "stock",
                "why": "the plain pipeline fails where it is to make several pictures in one call",
            }
        last = traceback.extract_tb(error.__traceback__)[-1]
        paid = f" after {count} NFEs" if count else ""
        where = f"{Path(last.filename).name}:{last.lineno}"
        return {"state": "fault", "why": f"{type(error).__name__}{paid}: {str(error)[:300]} ({where})"}
    return {"state": "yes"}


def _makes_several(toy: Toy) -> bool:
    """Whether the plain pipeline's four pictures of a prompt are those that it makes alone, where it says it does."""
    pipe = toy.build()
    if "num_images_per_prompt" not in inspect.signature(type(pipe).__call__).parameters:
        return True
    generators = [torch.Generator().manual_seed(seed) for seed in range(CANDIDATES)]
    arguments = {**toy.condition(pipe), **toy.recipe.arguments, "output_type": "np"}
    try:
        several = pictures(pipe(**arguments, num_images_per_prompt=CANDIDATES, generator=generators))
    except Exception:
        return False
    alone = np.concatenate([toy.call(pipe, seed) for seed in range(CANDIDATES)])
    return len(several) != CANDIDATES or np.abs(several - alone).max() * 255 < 8


def quiet() -> None:
    """No bars, no advice: the worker's output is its answers."""
    import diffusers
    import transformers

    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()
    sys.setrecursionlimit(2000)


SAME_ANSWER = {
    "flow SDE": ("flow ODE", "flow SDE", "flow SDE saved"),
    "time shift": ("time shift 0", "row times", "time shift saved"),
    "random search": ("random", "offload"),
    "zero-order search": ("zero-order",),
    "halving": ("halving",),
    "superposition": ("superposition",),
    "steering": ("steering",),
    "weak-to-strong": ("weak-to-strong",),
}
"""Cells that each answer of `samplesmith.support` is about."""


def told(toy: Toy) -> dict[str, str | None]:
    """What `samplesmith.support` says of the row: why each method is refused, or None."""
    answers = support(toy.build(), **toy.recipe.arguments)
    assert list(answers.refusals) == list(METHODS) == list(SAME_ANSWER)
    return answers.refusals
