"""What a search has cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

DENOISERS = ("transformer", "unet", "transformer_2", "unet_2", "prior")
"""Components of a diffusers pipeline that denoise."""


@dataclass
class Ledger:
    """Costs so far.

    Attributes:
        nfe: function evaluations: forwards of the denoiser, each counted once a row (a guided step costs two).
        decodes: images decoded.
        verifier_calls: images scored, once a verifier.
        seconds: wall time.
    """

    nfe: int = 0
    decodes: int = 0
    verifier_calls: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def denoisers(pipe: Any) -> list[nn.Module]:
    """The modules of a pipeline that denoise.

    Raises:
        ValueError: where it has none under a name that diffusers uses.
    """
    found = [module for name in DENOISERS if isinstance(module := getattr(pipe, name, None), nn.Module)]
    if not found:
        raise ValueError(
            f"{type(pipe).__name__} has no denoiser under the names {', '.join(DENOISERS)}: its NFEs cannot be counted"
        )
    return found


@contextmanager
def count_nfe(pipe: Any) -> Iterator[Ledger]:
    """Count the rows of each forward of the denoiser while the context is open, into the yielded ledger's `nfe`."""
    ledger = Ledger()

    def count(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        tensors = (value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor) and value.ndim > 1)
        ledger.nfe += len(next(tensors))

    handles = [module.register_forward_pre_hook(count, with_kwargs=True) for module in denoisers(pipe)]
    try:
        yield ledger
    finally:
        for handle in handles:
            handle.remove()
