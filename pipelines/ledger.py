"""What a search has cost, counted where it is spent: nothing here is worked out from steps or guidance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from diffusers import DiffusionPipeline
from torch import Tensor, nn

from ..samplers.hooks import count_evaluations, timed_networks
from ..verifiers import Verifier
from .shadow import shadowed


@dataclass
class Ledger:
    """Costs so far.

    Attributes:
        nfe: function evaluations: forwards of every denoiser, each counted once per row (a guided step costs two); what
            counts as one is said in `samplers/hooks/counters.py`.
        decodes: rows through an autoencoder's `decode`: images, clips, or the frames of a clip where those are decoded
            one by one. Pipelines in pixels have none.
        verifier_calls: images handed to a verifier, the second time too where a batch failed and was scored one by one.
        seconds: wall time.
        nfe_lost: evaluations of batches that ran out of memory and were made again, or were made again because their
            pictures were gone; they are not among `nfe`.
    """

    nfe: int = 0
    decodes: int = 0
    verifier_calls: int = 0
    seconds: float = 0.0
    nfe_lost: int = 0

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add the counted costs of candidates on record."""
        for record in records:
            self.nfe += record["nfe"]
            self.decodes += record.get("decodes", 0)
            self.verifier_calls += record.get("verifier_calls", 0)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def denoisers(pipe: Any) -> list[nn.Module]:
    """The networks of a pipeline that are called with the time, its ControlNets among them.

    Raises:
        ValueError: where it has none.
    """
    if found := timed_networks(pipe):
        return found
    raise ValueError(f"{type(pipe).__name__} has no network that takes a sample and a time: its NFEs cannot be counted")


@contextmanager
def count_nfe(pipe: Any) -> Iterator[Ledger]:
    """Count the evaluations of every denoiser while the context is open, into the yielded ledger's `nfe`.

    Raises:
        ValueError: for a pipeline without a denoiser.
    """
    denoisers(pipe)
    ledger = Ledger()

    def evaluated(rows: int) -> None:
        ledger.nfe += rows

    with count_evaluations(pipe, evaluated):
        yield ledger


@contextmanager
def count_costs(pipe: Any) -> Iterator[Ledger]:
    """Count evaluations and decodes while the context is open, into the yielded ledger.

    Raises:
        ValueError: for a pipeline without a denoiser.
    """

    def decode(original: Any, *args: Any, **kwargs: Any) -> Any:
        images = original(*args, **kwargs)
        latents = next((one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)), None)
        ledger.decodes += 1 if latents is None else len(latents)
        return images

    with ExitStack() as stack:
        ledger = stack.enter_context(count_nfe(pipe))
        for autoencoder in _autoencoders(pipe):
            stack.enter_context(shadowed(autoencoder, "decode", decode))
        yield ledger


@contextmanager
def count_verifier_calls(verifiers: Sequence[Verifier | None]) -> Iterator[Ledger]:
    """Count the images that verifiers are handed while the context is open, into the yielded ledger."""
    ledger = Ledger()

    def evaluate(original: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        ledger.verifier_calls += len(images)
        return original(images, *args, **kwargs)

    with ExitStack() as stack:
        for verifier in {id(one): one for one in verifiers if one is not None}.values():
            stack.enter_context(shadowed(verifier, "evaluate", evaluate))
        yield ledger


def shares(total: int, count: int) -> list[int]:
    """Whole shares of a batch's cost, as even as can be, whose sum it is; the largest first."""
    return [-(-(total - k) // count) for k in range(count)]


def _autoencoders(pipe: Any) -> list[nn.Module]:
    """The modules of a pipeline, nested ones included, that turn latents into pictures."""
    found: dict[int, nn.Module] = {}
    for one in vars(pipe).values():
        if isinstance(one, nn.Module) and callable(getattr(one, "decode", None)):
            found[id(one)] = one
        elif isinstance(one, DiffusionPipeline):
            found |= {id(inner): inner for inner in _autoencoders(one)}
    return list(found.values())
