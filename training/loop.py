"""The training loop that every recipe shares, on accelerate: a recipe says what is learned, the loop does the rest.

    draw and loss  ->  backward  ->  clip  ->  optimiser step  ->  learning rate  ->  moving average
    every n steps: log, evaluate, the recipe's own callbacks, and a checkpoint last

A run that is killed at any moment and started again ends bit-equal to one that never stopped: a checkpoint holds the
networks, the optimiser, the average, the generators of every process and what else a recipe names. The learning rate is
a function of progress and needs no state. accelerate's own `save_state` is not used: it reads and sets the global
generators, which belong to whoever called us.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from torch import Tensor, nn
from torch.distributed.checkpoint.stateful import Stateful
from torch.optim.lr_scheduler import LambdaLR

from .averages import moving_average
from .checkpoints import read_checkpoint, write_checkpoint
from .loop_settings import LoopSettings
from .randomness import Randomness
from .run_log import RunLog
from .schedules import Progress

Figures = Mapping[str, Any]
"""What a log entry says: numbers, tensors of one number, texts, and mappings of them, by name."""


class NonFiniteError(ArithmeticError):
    """A loss, a gradient or a figure is NaN or infinite; the message names the step and the checkpoint that stands."""


class Task(Protocol):
    """What a run learns.

    Attributes:
        networks: all that is trained; averages and checkpoints hold the whole of it.
        optimizer: over parameters of `networks`, with the learning rates that the schedule multiplies.
    """

    @property
    def networks(self) -> nn.Module: ...

    @property
    def optimizer(self) -> torch.optim.Optimizer: ...

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        """The loss of a new batch, a tensor of one number, and figures for the log.

        A batch has `loop.settings.batch_size` images, drawn by nothing but `loop.rng` and `loop.generator`.
        """
        ...

    def evaluate(self, loop: Loop) -> Figures:
        """Figures of the present weights or their average, for the log.

        It runs without gradients, in the first process alone, and draws from generators of its own.
        """
        ...


class Tracker(Protocol):
    """What log entries are told to, beside the file: a tracker of accelerate, a run of wandb, or any such object."""

    def log(self, values: dict[str, Any], step: int) -> Any:
        """Take the figures of an entry, after a step."""


@dataclass(frozen=True)
class Every:
    """A callback: `action(loop)` after each `steps`-th step, and after the last one where `at_end` is set.

    It runs without gradients, in the first process alone.
    """

    steps: int
    action: Callable[[Loop], None]
    at_end: bool = False

    def is_due(self, progress: Progress) -> bool:
        return progress.step % self.steps == 0 or (self.at_end and progress.share == 1)


class Loop:
    """A run of a task in a folder: new, or going on from the folder's checkpoint.

    Args:
        folder: of `checkpoint.pt` and `log.jsonl`; made where it is missing.
        task: what is learned. Its networks are moved to the loop's device.
        settings: how.
        callbacks: of the recipe: pictures, other measures.
        state: by name, what else the next batches depend on (a pool of pictures that are reused); kept by process.
        trackers: are told the figures of each log entry, in the first process; a resumed run tells some steps again.

    Attributes:
        progress: images seen, and their share of the run.
        rng, generator: of numpy and torch (on the CPU), for batches.
        device: where batches belong.
        average: the network with the averaged weights, in evaluation mode; None where none is kept.

    Raises:
        WrongRunError: where the folder's checkpoint is another run's, naming the differences.
        FolderError: where the checkpoint cannot be read.
    """

    def __init__(
        self,
        folder: str | Path,
        task: Task,
        settings: LoopSettings,
        callbacks: Sequence[Every] = (),
        state: Mapping[str, Stateful] | None = None,
        trackers: Sequence[Tracker] = (),
    ):
        self.folder, self.task, self.settings = Path(folder), task, settings
        self.folder.mkdir(parents=True, exist_ok=True)
        self._callbacks, self._state, self._trackers = tuple(callbacks), dict(state or {}), tuple(trackers)
        # accelerate knows one precision per process and would wrap whole losses in it: ours is `autocast`, by the run.
        self._accelerator = Accelerator(
            cpu=settings.cpu,
            mixed_precision="no",
            gradient_accumulation_steps=settings.accumulation,
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        self.device = self._accelerator.device
        self._objective = self._accelerator.prepare_model(_Objective(task))
        self._averaged = None
        if settings.average_decay is not None:
            self._averaged = moving_average(task.networks, settings.average_decay, settings.average_buffers)
        self._randomness = Randomness(settings.seed, self._accelerator.process_index)
        batch = settings.batch_size * settings.accumulation * self._accelerator.num_processes
        self.progress = Progress(0, batch, settings.total_images)
        self._seconds_before, self._started = 0.0, time.monotonic()
        self._console = Console()
        self._log = RunLog(self.folder / "log.jsonl")
        self._description = self._describe()
        self._resume()
        self._scheduler = LambdaLR(task.optimizer, self._rate_factor, last_epoch=self.progress.step - 1)

    @property
    def checkpoint_file(self) -> Path:
        return self.folder / "checkpoint.pt"

    @property
    def rng(self) -> np.random.Generator:
        return self._randomness.rng

    @property
    def generator(self) -> torch.Generator:
        return self._randomness.generator

    @property
    def average(self) -> Any:
        return None if self._averaged is None else self._averaged.module

    @property
    def minutes(self) -> float:
        """Wall minutes of this run, those before a resume included."""
        return (self._seconds_before + time.monotonic() - self._started) / 60

    def autocast(self) -> torch.autocast:
        """bfloat16 within, where the settings say so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16)

    def run(self) -> None:
        """Train until `total_images`; returns at once where that was reached before.

        Raises:
            NonFiniteError: for a loss, a gradient or a figure that is NaN or infinite. The weights are not stepped by
                it, and the last checkpoint stays as it is.
        """
        self._accelerator.gradient_accumulation_steps = self.settings.accumulation  # another loop's may stand there
        with self._bar() as bar:
            shown = bar.add_task("images", total=self.progress.total, completed=self.progress.images)
            while self.progress.share < 1:
                figures = self._step()
                self.progress = self.progress.at(self.progress.step + 1)
                bar.update(shown, completed=self.progress.images)
                self._report(figures)

    def close(self) -> None:
        """Let the processes of a run part, once all are here: the end of a script that several of them run."""
        self._accelerator.wait_for_everyone()
        self._accelerator.end_training()

    def log(self, **figures: Any) -> None:
        """Append an entry to the log and print it; only the first process does.

        Raises:
            NonFiniteError: for a NaN or an infinity.
        """
        entry = {"step": self.progress.step, "images": self.progress.images, "minutes": round(self.minutes, 2)}
        for name, value in figures.items():
            entry[name] = _plain(value)
            if isinstance(entry[name], float) and not math.isfinite(entry[name]):
                raise NonFiniteError(f"{name} is {entry[name]} after step {self.progress.step}; {self._standing()}")
        if self._accelerator.is_main_process:
            self._log.write(entry)
            for tracker in self._trackers:
                tracker.log({name: entry[name] for name in figures}, step=self.progress.step)
            text = " ".join(f"{name} {value}" for name, value in entry.items())
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _step(self) -> Figures:
        """One optimiser step; the figures of its last batch."""
        for _ in range(self.settings.accumulation):
            with self._accelerator.accumulate(self._objective):
                loss, figures = self._objective(self)
                self._accelerator.backward(loss)
        # With nothing to clip to, the norm still tells whether all gradients are finite.
        norm = self._accelerator.clip_grad_norm_(self.task.networks.parameters(), self.settings.gradient_norm)
        self._refuse_non_finite(loss, norm, figures)
        self.task.optimizer.step()
        self._scheduler.step()
        self.task.optimizer.zero_grad()
        if self._averaged is not None:
            self._averaged.update_parameters(self.task.networks)
        return figures

    def _report(self, figures: Figures) -> None:
        """What is due after a step; the checkpoint last, so that it says that all the rest was done."""
        progress, settings = self.progress, self.settings
        if progress.step % settings.log_every == 0:
            self.log(**figures)
        if self._accelerator.is_main_process:
            with torch.no_grad():
                if Every(settings.evaluate_every, self._evaluate, at_end=True).is_due(progress):
                    self._evaluate(self)
                for callback in self._callbacks:
                    if callback.is_due(progress):
                        callback.action(self)
        if progress.step % (settings.checkpoint_every or settings.evaluate_every) == 0 or progress.share == 1:
            self._save()

    def _evaluate(self, loop: Loop) -> None:
        self.log(**self.task.evaluate(self))

    def _refuse_non_finite(self, loss: Tensor, norm: Tensor, figures: Figures) -> None:
        step = self.progress.step + 1
        if not torch.isfinite(loss):
            parts = ", ".join(f"{name} {_plain(value)}" for name, value in figures.items())
            raise NonFiniteError(
                f"the loss of step {step} is {loss.item()} ({parts or 'no figures'}); {self._standing()}"
            )
        if not torch.isfinite(norm):
            names = [
                name
                for name, parameter in self.task.networks.named_parameters()
                if parameter.grad is not None and not torch.isfinite(parameter.grad).all()
            ]
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            where = f"{names[0]}{others}" if names else "all parameters together"
            raise NonFiniteError(
                f"the loss of step {step} is {loss.item():.5g}, but its gradient is not finite in {where}; "
                f"{self._standing()}"
            )

    def _standing(self) -> str:
        """What is left of a run that diverged, and what to do."""
        left = f"the last checkpoint stands in {self.folder}" if self.checkpoint_file.exists() else "no checkpoint yet"
        return f"{left}. A rerun comes to the same step: lower the learning rate, or mend that batch's loss"

    def _rate_factor(self, step: int) -> float:
        return self.settings.schedule(self.progress.at(step))

    def _describe(self) -> dict[str, Any]:
        """What makes this run another than the next one."""
        settings, groups = self.settings, self.task.optimizer.param_groups
        return {
            **settings.about,
            "seed": settings.seed,
            "batch size": settings.batch_size,
            "accumulation": settings.accumulation,
            "processes": self._accelerator.num_processes,
            "bf16": settings.bf16,
            "average": settings.average_decay is not None,
            "parameters": sum(parameter.numel() for parameter in self.task.networks.parameters()),
            "optimizer": type(self.task.optimizer).__name__,
            "learning rates": [group["lr"] for group in groups],
            "weight decays": [group.get("weight_decay", 0.0) for group in groups],
        }

    def _save(self) -> None:
        self._accelerator.wait_for_everyone()
        own = {"randomness": self._randomness.state_dict()}
        own |= {name: part.state_dict() for name, part in self._state.items()}
        by_process = gather_object([own])
        if self._accelerator.is_main_process:
            state = {
                "images": self.progress.images,
                "total_images": self.progress.total,
                "seconds": self.minutes * 60,
                "networks": self.task.networks.state_dict(),
                "optimizer": self.task.optimizer.state_dict(),
                "average": None if self._averaged is None else self._averaged.state_dict(),
                "by_process": by_process,
            }
            write_checkpoint(self.checkpoint_file, self._description, state)
        self._accelerator.wait_for_everyone()

    def _resume(self) -> None:
        saved = read_checkpoint(self.checkpoint_file, self._description)
        if self._accelerator.is_main_process:
            self._log.cut(None if saved is None else saved["images"] // self.progress.batch)
        if saved is None:
            return
        self.task.networks.load_state_dict(saved["networks"])
        self.task.optimizer.load_state_dict(saved["optimizer"])
        if self._averaged is not None:
            self._averaged.load_state_dict(saved["average"])
        own = saved["by_process"][self._accelerator.process_index]
        self._randomness.load_state_dict(own["randomness"])
        for name, part in self._state.items():
            part.load_state_dict(own[name])
        self.progress = Progress(saved["images"], self.progress.batch, self.progress.total)
        self._seconds_before = saved["seconds"]
        moved = {} if saved["total_images"] == self.progress.total else {"total_images": self.progress.total}
        self.log(resumed="yes", **moved)

    def _bar(self) -> Bar:
        """A progress bar over the run's images, in a terminal's first process."""
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        shown = self._console.is_terminal and self._accelerator.is_main_process
        return Bar(
            *columns,
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not shown,
            refresh_per_second=2,
        )


def _plain(value: Any) -> Any:
    """A figure as JSON has it."""
    value = value.item() if isinstance(value, Tensor) else value
    return round(value, 5) if isinstance(value, float) else value


class _Objective(nn.Module):
    """The loss as a module's forward: the one place where several processes join their gradients and statistics."""

    def __init__(self, task: Task):
        super().__init__()
        self.networks, self.task = task.networks, task

    def forward(self, loop: Loop) -> tuple[Tensor, Figures]:
        loss, figures = self.task.loss(loop)
        return loss, {name: value.detach() if isinstance(value, Tensor) else value for name, value in figures.items()}
