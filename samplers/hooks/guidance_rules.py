"""What a guided step predicts: formulas of two predictions and a weak one, as rewritten halves of the pipeline's own.

A pipeline combines out = u' + w (c' - u') from the unconditional and the conditional prediction that it is given. A
rule says which of them are evaluated and what stands in their places, so that the combination is the rule's prediction,
whatever w is. The same rule serves batched halves and calls in turn, the conditional one first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .network_call import NetworkCall
from .weak_predictors import Conditional, Weak


def weak_to_strong(weak: Tensor, strong: Tensor, scale: float) -> Tensor:
    """r + s (g - r): away from a weak prediction, through a strong one (CoRe², arXiv 2503.09662, refine phase).

    Written as (1 - s) r + s g, which is linear in g: applied to u and to c, the pipeline's own combination of the two
    is r + s (u + w (c - u) - r) for any w. With s = 1 it is g, with s = 0 it is r, bit for bit.

    Args:
        weak: r, of any shape.
        strong: g, of the same.
        scale: s; computed in float32 at least.
    """
    if scale == 1:
        return strong
    if scale == 0:
        return weak.to(strong.dtype)
    precise = strong if strong.dtype.itemsize > 4 else strong.float()
    return ((1 - scale) * weak.to(precise.dtype) + scale * precise).to(strong.dtype)


def guided(unconditional: Tensor, conditional: Tensor, scale: float) -> Tensor:
    """u + w (c - u): classifier-free guidance (arXiv 2207.12598) in the form that diffusers uses."""
    return unconditional + scale * (conditional - unconditional)


def unconditional_for(unconditional: Tensor, conditional: Tensor, own: float, other: float) -> Tensor:
    """u' with which a pipeline's guidance at scale w, u' + w (c - u'), is u + w2 (c - u).

    u' = c + (1 - w2) / (1 - w) (u - c). The conditional prediction stays, so it can be returned before u is known.

    Args:
        unconditional: u.
        conditional: c.
        own: w, the pipeline's scale; not 1, where it is not guided.
        other: w2.
    """
    if own == other:
        return unconditional
    return conditional + (1 - other) / (1 - own) * (unconditional - conditional)


@dataclass(frozen=True)
class Asked:
    """What a rule may ask of the call under way.

    Attributes:
        call: of the conditional rows.
        forward: evaluates the network, beneath the hook.
        guidance_scale: the pipeline's w; raises where it is not known.
    """

    call: NetworkCall
    forward: Callable[[NetworkCall], Any]
    guidance_scale: Callable[[], float]


class Rule(ABC):
    """What a step predicts."""

    @property
    def needs_conditional(self) -> bool:
        """Whether c is used; calls in turn evaluate it nonetheless."""
        return True

    @property
    def needs_unconditional(self) -> bool:
        """Whether u is used."""
        return True

    @abstractmethod
    def conditional(self, prediction: Tensor, asked: Asked) -> tuple[Tensor, Any]:
        """c' for the conditional prediction c, and what `unconditional` has to remember."""

    @abstractmethod
    def unconditional(self, prediction: Tensor | None, memory: Any) -> Tensor:
        """u' for the unconditional prediction u, which is None where it was not evaluated."""

    def weak_predictors(self) -> list[Weak]:
        """Those that this rule asks, to be checked beforehand."""
        return []


@dataclass(frozen=True)
class PipelineGuidance(Rule):
    """Classifier-free guidance, as the pipeline has it."""

    def conditional(self, prediction: Tensor, asked: Asked) -> tuple[Tensor, Any]:
        return prediction, None

    def unconditional(self, prediction: Tensor | None, memory: Any) -> Tensor:
        assert prediction is not None
        return prediction


@dataclass(frozen=True)
class GuidanceAt(Rule):
    """Classifier-free guidance at another scale than the pipeline's.

    Args:
        scale: w2. At 1 only the conditional half is evaluated, at 0 only the unconditional one.
    """

    scale: float

    @property
    def needs_conditional(self) -> bool:
        return self.scale != 0

    @property
    def needs_unconditional(self) -> bool:
        return self.scale != 1

    def conditional(self, prediction: Tensor, asked: Asked) -> tuple[Tensor, Any]:
        own = asked.guidance_scale() if self.needs_unconditional else None
        return prediction, (prediction, own)

    def unconditional(self, prediction: Tensor | None, memory: Any) -> Tensor:
        conditional, own = memory
        if prediction is None:
            return conditional
        return unconditional_for(prediction, conditional, own, self.scale)


@dataclass(frozen=True)
class WeakToStrong(Rule):
    """r + s (p - r), where p is the guided prediction or the conditional one alone.

    CoRe²'s slow mode is the guided p with s > 1, its fast mode the conditional p with s = 0, which is r. With a layer
    skipping r, the conditional p and s = 1 + w it is the late half of SGG (arXiv 2603.20584): c + w (c - r).

    Args:
        weak: r; None is the conditional prediction itself.
        scale: s.
        of_guided: whether p is guided, which takes the unconditional half too.
        told_scale: the guidance scale that r is asked for; the pipeline's own by default.
    """

    weak: Weak | None
    scale: float
    of_guided: bool
    told_scale: float | None = None

    @property
    def needs_unconditional(self) -> bool:
        return self.of_guided

    def conditional(self, prediction: Tensor, asked: Asked) -> tuple[Tensor, Any]:
        weak = self._weak(prediction, asked)
        rewritten = weak_to_strong(weak, prediction, self.scale)
        return rewritten, weak if self.of_guided else rewritten

    def unconditional(self, prediction: Tensor | None, memory: Any) -> Tensor:
        return memory if prediction is None else weak_to_strong(memory, prediction, self.scale)

    def weak_predictors(self) -> list[Weak]:
        return [] if self.weak is None or self.scale == 1 else [self.weak]

    def _weak(self, prediction: Tensor, asked: Asked) -> Tensor:
        if self.weak is None or self.scale == 1:
            return prediction
        told = self.told_scale
        scale = asked.guidance_scale if told is None else lambda: told
        return self.weak.predict(Conditional(asked.call, prediction, scale, asked.forward))
