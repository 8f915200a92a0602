"""A task with a known optimum, for the loop's tests; `python least_squares.py FOLDER STEPS` trains it in a process.

Rows x are normal, targets w* x without noise: the loss is 0 at w* and nowhere else.
"""

import sys
from pathlib import Path

import torch
from samplesmith.training.loop import Loop
from samplesmith.training.loop_settings import LoopSettings
from samplesmith.training.schedules import warm_up

OPTIMUM = torch.tensor([1.0, -2.0, 0.5])
BATCH = 8


class Pool:
    """Rows that are drawn for three batches at once, as recipes do with what is dear to draw."""

    def __init__(self):
        self.rows, self.used = torch.zeros(0, len(OPTIMUM)), 3

    def draw(self, loop, count):
        if self.used == 3:
            self.rows, self.used = torch.randn(3 * count, len(OPTIMUM), generator=loop.generator), 0
        self.used += 1
        return self.rows[(self.used - 1) * count : self.used * count]

    def state_dict(self):
        return {"rows": self.rows, "used": self.used}

    def load_state_dict(self, state):
        self.rows, self.used = state["rows"], state["used"]


class LeastSquares:
    """Mean square error of a linear layer without bias, on rows that are scaled by a number of numpy's generator."""

    def __init__(self, optimizer=torch.optim.AdamW, lr=0.05, pool=None):
        self.networks = torch.nn.utils.skip_init(torch.nn.Linear, len(OPTIMUM), 1, bias=False)
        torch.nn.init.zeros_(self.networks.weight)
        self.optimizer = optimizer(self.networks.parameters(), lr=lr)
        self.pool = pool or Pool()
        self.batches = []

    def loss(self, loop):
        x = loop.rng.uniform(0.5, 1.5) * self.pool.draw(loop, loop.settings.batch_size)
        self.batches.append(x)
        loss = (self.networks(x)[:, 0] - x @ OPTIMUM).square().mean()
        return loss, {"loss": loss}

    def evaluate(self, loop):
        weights = self.networks if loop.average is None else loop.average
        return {"distance": (weights.weight[0] - OPTIMUM).norm()}


def settings(steps, **changes):
    """An average with a rising decay, a warm-up of ten batches, a checkpoint for each step."""
    chosen = {
        "schedule": lambda progress: warm_up(progress, 10 * BATCH),
        "average_decay": lambda update: min(0.9, update / (1 + update)),
        "log_every": 1,
        "evaluate_every": 1,
        "cpu": True,
    }
    return LoopSettings(steps * BATCH, BATCH, **(chosen | changes))


def train(folder, steps, task=None, callbacks=(), **changes):
    """A run of its own, or one that goes on; the loop when it has ended."""
    task = task or LeastSquares()
    loop = Loop(folder, task, settings(steps, **changes), callbacks, state={"pool": task.pool})
    loop.run()
    return loop


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), int(sys.argv[2]), seed=3).close()
