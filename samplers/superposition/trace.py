"""What a run keeps of its decisions, for plots and for those who want to know why."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class Trace:
    """A line per model call; everything stays where it was computed, and nothing is copied while the run goes on.

    Attributes:
        times: of the model calls on the linear path, 1 to 0.
        weights: of each row's score in the step, guidance included, (groups, rows).
        log_densities: of each row before the step, but for what all share, (groups, rows).
        effective_sizes: of the groups after the step, scalars; empty without Feynman-Kac weights.
    """

    times: list[float] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    log_densities: list[Tensor] = field(default_factory=list)
    effective_sizes: list[Tensor] = field(default_factory=list)

    def stacked(self) -> dict[str, Tensor]:
        """All of it as tensors on the CPU, calls first; a host sync."""
        found = {"times": torch.tensor(self.times, dtype=torch.float64)}
        for name in ("weights", "log_densities", "effective_sizes"):
            if lines := getattr(self, name):
                found[name] = torch.stack(lines).float().cpu()
        return found
