"""A network read as a prediction along a path: what the losses ask of teacher, student and fake score."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...samplers.clean_prediction import prediction_kind
from ...samplers.interpolants import Interpolant, Linear, Tabulated, expand
from ...samplers.interpolants import from_scheduler as path_of
from ...samplers.predictions import Prediction

Condition = Mapping[str, Tensor]
"""Keyword arguments of a network that say what is to be shown, each (batch, ...)."""


@dataclass(frozen=True)
class Denoiser:
    """A network with its path.

    Attributes:
        network: called as diffusers calls its own, `network(x, timestep=..., **condition, return_dict=False)[0]`.
        path: that x_t stands on. Its time is what all methods here take: 0 to `last`.
        kind: of the network's output, one of `samplers.predictions.KINDS`.
        last: the noisiest time: 1 for flows, the last training timestep for a table.
        unit: of the network's time: it gets `unit * t`.
    """

    network: Callable[..., Any]
    path: Interpolant
    kind: str
    last: float = 1.0
    unit: float = 1.0

    @classmethod
    def of(cls, network: Callable[..., Any], scheduler: Any) -> Denoiser:
        """The network as a pipeline with this scheduler calls it.

        Raises:
            ValueError: for a scheduler whose path is not known, or whose samples are no blend of data and noise.
        """
        path, kind = path_of(scheduler), prediction_kind(scheduler)
        if isinstance(path, Linear):
            return cls(network, path, kind, 1.0, float(scheduler.config.num_train_timesteps))
        table = path.table if isinstance(path, Tabulated) else None
        if table is None:
            raise ValueError("the teacher's scheduler runs far beyond sigma 1; give one with alphas_cumprod, or a flow")
        return cls(network, Tabulated(table), kind, float(len(table) - 1))

    def of_network(self, network: Callable[..., Any]) -> Denoiser:
        """Another network on the same path, with the same kind of output."""
        return replace(self, network=network)

    def time(self, share: Tensor) -> Tensor:
        """Times of shares of the path in [0, 1]; whole training timesteps where the path has a table."""
        t = share * self.last
        return t.round() if isinstance(self.path, Tabulated) else t

    def noised(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha x_0 + sigma eps, for a time or one per row."""
        return expand(self.path.alpha(t), x0) * x0 + expand(self.path.sigma(t), x0) * noise

    def output(self, x: Tensor, t: Tensor, condition: Condition) -> Tensor:
        """What the network says, of x's shape: a learned variance is left out.

        Args:
            x: x_t, (batch, ...).
            t: (batch,).
            condition: of the rows.
        """
        said: Tensor = self.network(x, timestep=self.unit * t, **condition, return_dict=False)[0]
        return said[:, : x.shape[1]].to(torch.promote_types(x.dtype, torch.float32))

    def predict(self, x: Tensor, t: Tensor, condition: Condition) -> Prediction:
        """The output as clean sample and noise."""
        return self.read(self.output(x, t, condition), x, t)

    def read(self, output: Tensor, x: Tensor, t: Tensor) -> Prediction:
        """An output as clean sample and noise."""
        return Prediction.read(self.kind, output, x, self.path, t)

    def target(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What the network should say of x_t, were it made of this clean sample and this noise."""
        return Prediction(x0, noise).write(self.kind, self.path, t)

    def halves(self, x: Tensor, t: Tensor, condition: Condition, null: Condition) -> tuple[Tensor, Tensor]:
        """The outputs with the condition and without it, in one call of twice the rows."""
        both = {name: torch.cat([value, null[name]]) for name, value in condition.items()}
        conditional, unconditional = self.output(torch.cat([x, x]), torch.cat([t, t]), both).chunk(2)
        return conditional, unconditional

    def guided(self, x: Tensor, t: Tensor, condition: Condition, null: Condition | None, scale: float) -> Tensor:
        """The output under classifier-free guidance (Ho and Salimans, arXiv 2207.12598, eq. 6); plain at scale 1.

        Raises:
            ValueError: for another scale where there is no null condition.
        """
        if scale == 1:
            return self.output(x, t, condition)
        if null is None:
            raise ValueError(f"guidance scale {scale:g} needs a condition that says nothing, and this teacher has none")
        conditional, unconditional = self.halves(x, t, condition, null)
        return unconditional + scale * (conditional - unconditional)
