"""What every transition is: settings, and the kernels of a run that are formed from them.

A transition leads a sample from one time of a path to the next, given what the model predicts there. Its kernels depend
on the times alone, so they are formed once for each run, in float64, when the timesteps are set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, NamedTuple, Self

from torch import Tensor

from ..interpolants import Interpolant, expand

Kept = tuple[Tensor, ...]
"""What a model call leaves for the next one of its step, each (batch, ...); empty between steps."""


class Stepped(NamedTuple):
    """Where a model call leads.

    Attributes:
        sample: the next model call's, or where the run ends, (batch, ...).
        mean: the same without this call's noise.
        kept: what the call leaves for the next one of its step.
    """

    sample: Tensor
    mean: Tensor
    kept: Kept


@dataclass(frozen=True, eq=False)
class Kernels(ABC):
    """The numbers of a run's model calls, and the moves that are made of them. Nothing changes in a move.

    Attributes:
        std: standard deviation of the noise that each model call adds to the sample, (calls,); 0 where it adds none.
    """

    std: Tensor

    @abstractmethod
    def mean(self, call: int | Tensor, sample: Tensor, x0: Tensor, eps: Tensor, kept: Kept = ()) -> tuple[Tensor, Kept]:
        """The next sample without its noise, (batch, ...), and what this model call leaves for the next.

        Args:
            call: number of the model call in the run; or one for each row, (batch,).
            sample, x0, eps: where the sample stands, and the clean sample and the noise that the model predicts there.
            kept: what the call before left.

        Raises:
            ValueError: for a run that begins in the middle of a step.
        """

    def step(
        self,
        call: int | Tensor,
        sample: Tensor,
        x0: Tensor,
        eps: Tensor,
        noise: Tensor | None = None,
        kept: Kept = (),
    ) -> Stepped:
        """Go from where the sample stands at a model call to where the next one is.

        Args:
            call: number of the model call in the run; or one for each row, (batch,), so that rows may stand anywhere.
            sample, x0, eps: where the sample stands, and the clean sample and the noise that the model predicts there,
                (batch, ...).
            noise: standard normal, of their shape; None for the mean.
            kept: what the call before left.

        Raises:
            ValueError: for a run that begins in the middle of a step.
        """
        mean, kept = self.mean(call, sample, x0, eps, kept)
        return Stepped(mean if noise is None else mean + expand(self.std[call], mean) * noise, mean, kept)

    @property
    def noisy_steps(self) -> int:
        """Steps that add noise, which come before all that do not; a host sync."""
        return int((self.std > 0).sum())

    def to(self, device: Any) -> Self:
        """The kernels as steps use them: in float32 on the sample's device, so that a step makes no host sync."""
        tables = {one.name: getattr(self, one.name) for one in fields(self)}
        return replace(
            self, **{name: one.float().to(device) for name, one in tables.items() if isinstance(one, Tensor)}
        )


@dataclass(frozen=True, eq=False)
class LinearKernels(Kernels):
    """Moves x' = a x0 + b eps + std z, one model call each.

    Attributes:
        a, b: factors of the clean sample and of the noise, (calls,).
    """

    a: Tensor
    b: Tensor

    def mean(self, call: int | Tensor, sample: Tensor, x0: Tensor, eps: Tensor, kept: Kept = ()) -> tuple[Tensor, Kept]:
        return expand(self.a[call], x0) * x0 + expand(self.b[call], eps) * eps, ()


class Transition(ABC):
    """How a sample goes from one time to the next; its settings are those of its constructor.

    A subclass is a frozen dataclass of its settings, which says in `along` how the kernels of a run are formed. It
    takes any path whose alpha and sigma are known: that of a flow, or of a diffusion.
    """

    noise: ClassVar[Literal["none", "diffusion", "own"]] = "own"
    """What decides the noise of its steps: nothing, as it is for the ODE; g, which its setting `diffusion` names; or it
    alone."""

    @property
    def model_calls(self) -> int:
        """Model calls per step. With n, calls 0, n, 2n, ... begin a step, and only those may add noise."""
        return 1

    @property
    @abstractmethod
    def is_stochastic(self) -> bool:
        """Whether it adds noise."""

    def call_times(self, times: Tensor, path: Interpolant) -> Tensor:
        """Times of the model calls and the run's end, (calls + 1,).

        Args:
            times, path: as in `along`.
        """
        return times

    @abstractmethod
    def along(self, times: Tensor, path: Interpolant) -> Kernels:
        """Form the kernels of a run.

        Args:
            times: of the path, decreasing, float64, (steps + 1,): where the steps begin, and the run's end.
            path: where samples stand.

        Returns:
            with tables in float64, of (calls,).
        """
