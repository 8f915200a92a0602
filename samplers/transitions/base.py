"""What every transition is: the numbers of a run's model calls, and the step that is made of them.

A transition leads a sample from one time of a flow to the next, given what the model predicts there. Its numbers depend
on the times alone, so they are formed once for each run, in float64, when the timesteps are set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..interpolants import Interpolant, expand

Kept = tuple[Tensor, ...]
"""What a model call leaves for the next one of its step, each (batch, ...); empty between steps."""


@dataclass(frozen=True, eq=False)
class Transition(ABC):
    """One transition along the times of a run.

    A subclass is frozen, holds a table of numbers for each model call, and says in `along` how they are formed.

    Attributes:
        std: standard deviation of the noise that each model call adds, (calls,); 0 where it adds none.
    """

    std: Tensor

    model_calls: ClassVar[int] = 1
    """Model calls per step. With n, calls 0, n, 2n, ... begin a step, and only those may add noise."""

    stochastic: ClassVar[bool] = True
    """Whether it can add noise."""

    largest_norm: ClassVar[float] = float("inf")
    """Of the diffusion."""

    @classmethod
    @abstractmethod
    def along(cls, times: Tensor, path: Interpolant, diffusion: str | None, norm: float) -> Self:
        """Form the numbers of a run.

        Args:
            times: of the linear path, decreasing, float64, (calls + 1,): those of the model calls, and the run's end.
            path: that the steps are taken along; samples stay in the linear path's coordinates.
            diffusion: names g (`diffusions.py`), None for the ODE.
            norm: factor of g.

        Returns:
            with its tables in float64.
        """

    @classmethod
    def call_times(cls, times: Tensor) -> Tensor:
        """Times of the model calls, (calls,), from those of the steps, (steps,)."""
        return times

    @abstractmethod
    def mean(self, call: int | Tensor, sample: Tensor, x0: Tensor, eps: Tensor, kept: Kept = ()) -> tuple[Tensor, Kept]:
        """The next sample without its noise, (batch, ...), and what this model call leaves for the next.

        Args:
            call: number of the model call in the run; where nothing is kept also one for each row, (batch,).
            sample, x0, eps: where the sample stands, and the clean sample and the noise that the model predicts there.
            kept: what the call before left.

        Raises:
            ValueError: for a run that begins in the middle of a step.
        """

    @property
    def noisy_steps(self) -> int:
        """Steps that add noise, which come before all that do not; a host sync."""
        return int((self.std > 0).sum())

    def to(self, device: torch.device) -> Self:
        """The transition as steps use it: in float32 on the sample's device, so that a step makes no host sync."""
        return replace(self, **{one.name: getattr(self, one.name).float().to(device) for one in fields(self)})


@dataclass(frozen=True, eq=False)
class LinearTransition(Transition):
    """A transition whose step is x' = a x0 + b eps + std z.

    Attributes:
        a, b: factors of the clean sample and of the noise, (calls,).
    """

    a: Tensor
    b: Tensor

    def mean(self, call: int | Tensor, sample: Tensor, x0: Tensor, eps: Tensor, kept: Kept = ()) -> tuple[Tensor, Kept]:
        return expand(self.a[call], x0) * x0 + expand(self.b[call], eps) * eps, ()
