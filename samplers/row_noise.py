"""Noise that a scheduler draws itself: each row of a batch from a source of its own, none from the global generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from .noise import stream_seed


@dataclass(frozen=True, eq=False)
class _Sources:
    """Generators by row, and the states from which each run starts."""

    generators: list[torch.Generator]
    states: list[Tensor]


class RowNoise:
    """Part of a scheduler that draws noise; row k draws from a source that `config.seed + k` decides.

    Each run starts from the same states, so that the same call gives the same images.
    """

    config: Any
    _given_generators: _Sources | None
    _row_generators: list[torch.Generator] | None

    def set_generators(self, generators: Sequence[torch.Generator] | None) -> None:
        """
        Give each row of the batch its own source of noise; None goes back to `seed`.

        Args:
            generators (`list[torch.Generator]`):
                One a row, separate objects. Each run starts from the state that they have now.
        """
        self._row_generators = None
        if generators is None:
            self._given_generators = None
        else:
            states = [generator.get_state() for generator in generators]
            self._given_generators = _Sources(list(generators), states)

    def _new_run(self) -> None:
        """Let the next draw start from the states that the sources had when they were given."""
        self._row_generators = None

    def _noise(self, sample: Tensor, generator: torch.Generator | list[torch.Generator] | None) -> Tensor:
        if generator is None:
            if self._row_generators is None:
                self._row_generators = self._fresh_generators(len(sample))
            if len(self._row_generators) != len(sample):
                raise ValueError(
                    f"{len(self._row_generators)} generators but {len(sample)} rows; give set_generators one a row"
                )
            generator = self._row_generators
        return randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=torch.float32)

    def _fresh_generators(self, rows: int) -> list[torch.Generator]:
        if self._given_generators is None:
            return [torch.Generator().manual_seed(stream_seed(self.config.seed + k)) for k in range(rows)]
        sources = self._given_generators
        for generator, state in zip(sources.generators, sources.states, strict=True):
            generator.set_state(state)
        return list(sources.generators)
