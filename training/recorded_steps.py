"""What guided steps of a call predict, looked at by a rule that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..samplers.hooks.guidance_rules import Asked, PipelineGuidance, Rule
from ..samplers.hooks.loop_position import LoopPosition
from ..samplers.hooks.network_call import NetworkCall
from .collected import Items


def chosen_steps(total: int, count: int | None, seed: int) -> frozenset[int]:
    """Steps to keep of a run of `total`: one drawn from each of `count` equal parts; all where None, or as many.

    Args:
        total: steps of the run.
        count: how many are kept.
        seed: decides them, with nothing else.
    """
    if count is None or count >= total:
        return frozenset(range(total))
    edges = np.arange(count + 1) * total // count
    return frozenset(np.random.default_rng(seed).integers(edges[:-1], edges[1:]).tolist())


class Recorder:
    """Keeps the chosen steps of one call of a pipeline.

    Args:
        keep_steps: of each row, as in `chosen_steps`.
        seeds: of the rows, in the order of the call; they choose the steps.
        dtype: of predictions and samples.
    """

    def __init__(self, keep_steps: int | None, seeds: Sequence[int], dtype: torch.dtype):
        self.keep_steps, self.seeds, self.dtype = keep_steps, seeds, dtype
        self._chosen: list[frozenset[int]] = []
        self._kept: list[Items] = []

    def rule(self, position: LoopPosition) -> Rule:
        """Of the step at a position."""
        return _Watched(self, position)

    def see(self, position: LoopPosition, call: NetworkCall, conditional: Tensor, unconditional: Tensor) -> None:
        """Keep what is chosen of a step.

        Args:
            position: of the step.
            call: of the conditional rows.
            conditional: c, (rows, ...).
            unconditional: u, of the same shape.

        Raises:
            ValueError: for predictions that are not one for each row.
        """
        if len(conditional) != len(self.seeds):
            raise ValueError(
                f"{type(call.module).__name__} predicts {len(conditional)} rows for {len(self.seeds)} trajectories; "
                "what it predicts cannot be told apart, so it cannot be collected"
            )
        if not self._chosen:
            self._chosen = [chosen_steps(position.total, self.keep_steps, seed) for seed in self.seeds]
        rows = [k for k, chosen in enumerate(self._chosen) if position.index in chosen]
        if not rows:
            return
        times = torch.as_tensor(call.timestep).float().reshape(-1).cpu().expand(len(conditional))
        self._kept.append(
            Items(
                self._stored(unconditional, rows),
                self._stored(conditional, rows),
                self._stored(call.sample, rows),
                times[rows].clone(),
                torch.full((len(rows),), position.index, dtype=torch.int32),
                torch.tensor(rows, dtype=torch.int32),
                None if call.condition is None else self._stored(call.condition, rows),
            )
        )

    def items(self) -> Items:
        """All that was kept, ordered by row and step.

        Raises:
            ValueError: where nothing was guided.
        """
        if not self._kept:
            raise ValueError(
                "no step was guided by two predictions, so there is nothing to collect; call the pipeline with its "
                "guidance on (guidance_scale or true_cfg_scale above 1)"
            )
        items = Items.joined(self._kept)
        return items[torch.argsort(items.trajectory, stable=True)]

    def _stored(self, tensor: Tensor, rows: list[int]) -> Tensor:
        return tensor.detach()[rows].to("cpu", self.dtype)


@dataclass(frozen=True)
class _Watched(PipelineGuidance):
    """The pipeline's own guidance, of which both predictions are shown to a recorder."""

    recorder: Recorder
    position: LoopPosition

    def conditional(self, prediction: Tensor, asked: Asked) -> tuple[Tensor, Any]:
        return prediction, (asked.call, prediction)

    def unconditional(self, prediction: Tensor | None, memory: Any) -> Tensor:
        assert prediction is not None
        call, conditional = memory
        self.recorder.see(self.position, call, conditional, prediction)
        return prediction
