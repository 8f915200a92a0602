"""What the schedulers share whose steps are a transition's: the run under way, and its moves."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from .interpolants import Interpolant
from .predictions import Prediction
from .row_noise import RowNoise
from .transitions import Kept, Kernels, Stepped, Transition


class TransitionSteps(RowNoise):
    """Part of a scheduler that steps by the kernels of a transition, with noise of each row's own.

    Attributes:
        kernels: of the run under way, in float32 on its device; None before `set_timesteps`. Their `step` is pure: with
            what `predict` reads it leads any sample of this run from any model call to the next, each row from its own.
    """

    kernels: Kernels | None = None
    _kept: Kept = ()
    _order: int = 1
    _noisy_steps: int = 0

    @classmethod
    def from_config(cls, config: Any = None, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """
        Make one from a config, and check the settings that it then has.

        Raises:
            ValueError: for settings that do not fit.
        """
        parent: Any = super()
        made, unused = parent.from_config(config, return_unused_kwargs=True, **kwargs)
        made._check()
        return (made, unused) if return_unused_kwargs else made

    @abstractmethod
    def _check(self) -> None:
        """Check the settings, which may have been changed since construction."""

    @abstractmethod
    def predict(self, model_output: Tensor, sample: Tensor, call: int | Tensor) -> Prediction:
        """
        The clean sample and the noise that a model's output implies, as steps take them, in float32.

        Args:
            model_output (`torch.Tensor`): of the model call, `(batch, ...)`.
            sample (`torch.Tensor`): that the model was called at.
            call (`int` or `torch.Tensor`): number of the model call in the run, or one for each row, `(batch,)`.
        """

    def _begin_run(self, transition: Transition, times: Tensor, path: Interpolant, device: torch.device) -> None:
        """Form the kernels of a run along times of a path, (steps + 1,), float64."""
        self._new_run()
        self._kept = ()
        kernels = transition.along(times, path)
        self._order, self._noisy_steps = transition.model_calls, kernels.noisy_steps
        self.kernels = kernels.to(device)

    def _move(
        self,
        call: int,
        sample: Tensor,
        predicted: Prediction,
        generator: torch.Generator | list[torch.Generator] | None,
        noise: Tensor | None,
    ) -> tuple[Stepped, bool]:
        """Make a step of the run, and say whether noise was added."""
        assert self.kernels is not None
        noisy = call % self._order == 0 and call // self._order < self._noisy_steps
        z = None
        if noisy:
            z = self._noise(sample, generator) if noise is None else noise.float()
        stepped = self.kernels.step(call, sample.float(), predicted.x0, predicted.eps, z, self._kept)
        self._kept = stepped.kept
        return stepped, noisy
