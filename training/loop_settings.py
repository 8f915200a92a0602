"""How a training run goes: its length, batches, learning rate, average and precision, in one frozen object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .averages import Decay
from .schedules import Schedule, constant


@dataclass(frozen=True)
class LoopSettings:
    """How a run goes.

    Attributes:
        total_images: where it ends. A run may be resumed with another end.
        batch_size: images of each batch, for each process and accumulated part.
        seed: of the run's generators.
        schedule: factor of the optimiser's learning rates.
        average_decay: of the moving average; None: no average is kept.
        average_buffers: whether it averages batch norms' statistics as well.
        gradient_norm: to which gradients are clipped, over all parameters.
        accumulation: batches of one step.
        bf16: whether `loop.autocast()` computes in bfloat16.
        cpu: whether the CPU is used where there is a GPU.
        log_every, evaluate_every: in steps.
        checkpoint_every: in steps; None: as often as it is evaluated. The last step leaves one in any case.
        about: what else tells this run from others (which recipe, its data and options), JSON: a checkpoint of another
            run is refused.

    Raises:
        ValueError: for a number out of its range.
    """

    total_images: int
    batch_size: int
    seed: int = 0
    schedule: Schedule = constant
    average_decay: Decay | None = None
    average_buffers: bool = False
    gradient_norm: float = math.inf
    accumulation: int = 1
    bf16: bool = False
    cpu: bool = False
    log_every: int = 50
    evaluate_every: int = 500
    checkpoint_every: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = ["total_images", "batch_size", "accumulation", "log_every", "evaluate_every"]
        for name in counts + ["checkpoint_every"] * (self.checkpoint_every is not None):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} is {value}; a whole number of at least 1 is expected")
        if not self.gradient_norm > 0:
            raise ValueError(f"gradient_norm is {self.gradient_norm}; a number above 0 is expected (inf: no clipping)")
