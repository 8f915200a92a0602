"""Counting model calls, decodes and verifier calls where they are made: nothing is worked out from steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from diffusers import DiffusionPipeline
from torch import Tensor, nn

from ..samplers.hooks import count_evaluations, timed_networks
from ..verifiers import Verifier
from .shadow import shadowed

_uncounted: ContextVar[bool] = ContextVar("uncounted", default=False)
_kept: ContextVar[tuple[Any, list[nn.Module]] | None] = ContextVar("kept", default=None)


@dataclass
class Counts:
    """What was counted while a context was open.

    Attributes:
        nfe: function evaluations: forwards of every denoiser, each counted once per row (a guided step costs two); what
            counts as one is said in `samplers/hooks/counters.py`.
        decodes: rows through an autoencoder's `decode`: images, clips, or the frames of a clip where those are decoded
            one by one. Pipelines in pixels have none.
        verifier_calls: images handed to a verifier, the second time too where a batch failed and was scored one by one.
    """

    nfe: int = 0
    decodes: int = 0
    verifier_calls: int = 0


@contextmanager
def denoisers_kept(pipe: Any) -> Iterator[None]:
    """Look for a pipeline's denoisers once while the context is open, in which they stay the same.

    A search asks for them several times in each window of each candidate.
    """
    token = _kept.set((pipe, timed_networks(pipe)))
    try:
        yield
    finally:
        _kept.reset(token)


def denoisers(pipe: Any) -> list[nn.Module]:
    """The networks of a pipeline that are called with the time, its ControlNets among them.

    Raises:
        ValueError: where it has none.
    """
    kept = _kept.get()
    if networks := kept[1] if kept is not None and kept[0] is pipe else timed_networks(pipe):
        return list(networks)
    raise ValueError(f"{type(pipe).__name__} has no network that takes a sample and a time: its NFEs cannot be counted")


@contextmanager
def count_nfe(pipe: Any) -> Iterator[Counts]:
    """Count the evaluations of every denoiser while the context is open, into the yielded `nfe`.

    Raises:
        ValueError: for a pipeline without a denoiser.
    """
    networks = denoisers(pipe)
    counts = Counts()

    def evaluated(rows: int) -> None:
        counts.nfe += rows

    with count_evaluations(networks, evaluated):
        yield counts


@contextmanager
def count_costs(pipe: Any, autoencoders: Sequence[nn.Module] = ()) -> Iterator[Counts]:
    """Count evaluations and decodes while the context is open, into what is yielded.

    Args:
        pipe: whose own autoencoders count.
        autoencoders: others that count too.

    Raises:
        ValueError: for a pipeline without a denoiser.
    """

    def decode(original: Any, *args: Any, **kwargs: Any) -> Any:
        images = original(*args, **kwargs)
        if _uncounted.get():
            return images
        latents = next((one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)), None)
        counts.decodes += 1 if latents is None else len(latents)
        return images

    with ExitStack() as stack:
        counts = stack.enter_context(count_nfe(pipe))
        for autoencoder in (*_autoencoders(pipe), *autoencoders):
            stack.enter_context(shadowed(autoencoder, "decode", decode))
        yield counts


@contextmanager
def uncounted() -> Iterator[None]:
    """Let decodes go uncounted while the context is open: those made for somebody who watches, or to try."""
    token = _uncounted.set(True)
    try:
        yield
    finally:
        _uncounted.reset(token)


@contextmanager
def count_verifier_calls(verifiers: Sequence[Verifier | None]) -> Iterator[Counts]:
    """Count the images that verifiers are handed while the context is open, into what is yielded."""
    counts = Counts()

    def evaluate(original: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        counts.verifier_calls += len(images)
        return original(images, *args, **kwargs)

    with ExitStack() as stack:
        for verifier in {id(one): one for one in verifiers if one is not None}.values():
            stack.enter_context(shadowed(verifier, "evaluate", evaluate))
        yield counts


def _autoencoders(pipe: Any) -> list[nn.Module]:
    """The modules of a pipeline, nested ones included, that turn latents into pictures."""
    modules: dict[int, nn.Module] = {}
    for one in vars(pipe).values():
        if isinstance(one, nn.Module) and callable(getattr(one, "decode", None)):
            modules[id(one)] = one
        elif isinstance(one, DiffusionPipeline):
            modules |= {id(inner): inner for inner in _autoencoders(one)}
    return list(modules.values())
