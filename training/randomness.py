"""Where a run's randomness comes from: generators of its own, kept in checkpoints; the global ones are left alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class Randomness:
    """A numpy and a torch generator (on the CPU: the same draws for every device) of one process.

    Args:
        seed: of the run.
        process: index of the process; each draws batches of its own, and process 0 draws what a single one would.
    """

    def __init__(self, seed: int, process: int = 0):
        sequence = np.random.SeedSequence(seed, spawn_key=(process,) if process else ())
        self.rng = np.random.default_rng(sequence)
        self.generator = torch.Generator().manual_seed(
            int(sequence.generate_state(1, np.uint64)[0]) if process else seed
        )

    def state_dict(self) -> dict[str, Any]:
        """Both states; numpy's as JSON, because its whole numbers have 128 bits."""
        return {"rng": json.dumps(self.rng.bit_generator.state), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self.rng.bit_generator.state = json.loads(state["rng"])
        self.generator.set_state(state["generator"])


@contextmanager
def initial_weights(seed: int) -> Iterator[None]:
    """Modules draw their weights from the global generator: seed it inside, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
