"""The step that is left to be made where a run stands: after a model call, with the model's output in hand.

The noise of that step is what children of one node differ by, so it belongs to the child: each makes it with its own,
for rows that are joined from the batches in which the model was called. Cost: none, as no model is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ROWS = ("model_output", "sample")
"""Arguments of `step` that hold one entry per row."""


@dataclass(frozen=True, eq=False)
class PendingStep:
    """A call of a scheduler's `step` that a pipeline was about to make.

    Attributes:
        call: its arguments.
    """

    call: inspect.BoundArguments

    @property
    def sample(self) -> Tensor:
        """Before the step, (batch, ...)."""
        sample: Tensor = self.call.arguments["sample"]
        return sample

    @classmethod
    def gathered(cls, parts: Sequence[tuple[PendingStep, int]]) -> PendingStep:
        """The step of chosen rows, which are those of one batch or of several that stand after the same model call.

        Args:
            parts: pending steps and a row of each, in the order of the batch to come.
        """
        first = parts[0][0].call
        call = inspect.BoundArguments(first.signature, first.arguments.copy())
        for name in ROWS:
            call.arguments[name] = torch.stack([step.call.arguments[name][row] for step, row in parts])
        return cls(call)

    def make(self, scheduler: Any, generators: Sequence[torch.Generator]) -> Tensor:
        """The sample after the step, (batch, ...).

        Args:
            scheduler: whose run stands before it.
            generators: one per row, where the pipeline hands some on.
        """
        call = inspect.BoundArguments(self.call.signature, self.call.arguments.copy())
        if (given := call.arguments.get("generator")) is not None:
            one = isinstance(given, torch.Generator)
            call.arguments["generator"] = generators[0] if one else list(generators)
        out: Any = scheduler.step(*call.args, **call.kwargs)
        after: Tensor = out[0] if isinstance(out, tuple) else out.prev_sample
        return after
