"""CoRe²'s reflect phase: a weak model that learns the guided prediction of collected steps, on the shared loop.

CoRe² (Shao et al., arXiv 2503.09662) fits r(c, x_t, t, prompt) to g = u + w (c - u) by its square error, at one w. Here
w is drawn anew for each item, so that one small model serves a range of scales. What it is measured on is held out.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models.weak_logits import WeakLogitsModel
from ..models.weak_model import WeakModel
from .averages import rising_decay
from .collected import Collected, Items
from .loop import Every, Figures, Loop, Tracker
from .loop_settings import LoopSettings
from .randomness import initial_weights
from .schedules import Progress, linear_decay, warm_up

Weak = WeakModel | WeakLogitsModel

MODEL = "weak-model"
"""Folder of the result within a run's folder."""

HELD_OUT = 0.06
MEASURED = 1024
MEASURED_AT_ONCE = 128
EMA_DECAY = 0.999
WARM_UP_ITEMS, DECAY_SHARE = 3200, 0.6
LOG_EVERY = 50


@dataclass(frozen=True)
class ReflectSettings:
    """
    The weak model's form and its training.

    Attributes:
        guidance_range: scales w that it learns, drawn uniformly.
        width, layers, patch_size: as in `WeakModel`; of `WeakLogitsModel` the width alone.
        total_items: collected steps that are seen, each as often as that takes; some six times, as more makes the model
            remember them (of 11,200 steps of emoji-sd3 the held-out error was .57 after 6 times, .58 after 10, .65
            after 34).
        batch_size: of them.
        learning_rate: of AdamW, at its peak.
        seed: of the first weights and the batches.
        evaluate_every: in steps.

    Raises:
        ValueError: for a range that is none, or a learning rate of 0.
    """

    guidance_range: tuple[float, float] = (1.0, 7.5)
    width: int = 96
    layers: int = 2
    patch_size: int = 2
    total_items: int = 64_000
    batch_size: int = 64
    learning_rate: float = 2e-3
    seed: int = 0
    evaluate_every: int = 250

    def __post_init__(self) -> None:
        low, high = self.guidance_range
        if not 1 <= low < high:
            raise ValueError(f"guidance_range is {low:g} to {high:g}; give two scales, 1 <= first < second")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate is {self.learning_rate:g}; give a number above 0")


def held_out(prompts: Tensor, trajectories: Tensor, share: float) -> Tensor:
    """Whether each item is held out to be measured on: all of some prompts, evenly spread, at least one.

    Where prompts are few, as the classes of a class-conditional model, whole runs of them are held out instead.

    Args:
        prompts: index of each item's, (items,).
        trajectories: its run, (items,).
        share: of prompts or runs, in (0, 1).

    Returns:
        (items,).

    Raises:
        ValueError: for a single run.
    """
    units = prompts if len(prompts.unique()) * share >= 1 else trajectories
    known = units.unique()
    if len(known) < 2:
        raise ValueError("the collected steps are of one run; collect two at least, of which one is measured on")
    count = max(1, round(share * len(known)))
    places = ((torch.arange(count) + 0.5) / count * len(known)).long()
    return torch.isin(units, known[places])


def square_errors(weak: Tensor, items: Items, scales: Tensor) -> Tensor:
    """|r - g|² and |c - g|² of each item, (items, 2).

    The sum of the first over that of the second is 0 for r = g, and 1 for the conditional prediction itself, which is
    what an untrained weak model is.

    Args:
        weak: r, of the predictions' shape.
        items: guided steps.
        scales: w of each, (items,).
    """
    guided = items.guided(scales)
    return torch.stack([(one.float() - guided).flatten(1).square().sum(1) for one in (weak, items.conditional)], 1)


class Reflection:
    """The square error of a weak model on collected steps, in units of (w - 1)'s mean square.

    Args:
        model: with its first weights.
        collected: the steps.
        guidance_range: of w.
        learning_rate: at its peak.
    """

    def __init__(self, model: Weak, collected: Collected, guidance_range: tuple[float, float], learning_rate: float):
        self.networks, self.collected, self.guidance_range = model, collected, guidance_range
        self.optimizer = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
        kept = held_out(collected.prompt, collected.trajectory, HELD_OUT)
        self.training, measured = (~kept).nonzero()[:, 0], kept.nonzero()[:, 0]
        self.measured = measured[:: -(-len(measured) // MEASURED)]
        low, high = guidance_range
        self.unit = ((high - 1) ** 3 - (low - 1) ** 3) / (3 * (high - low))

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        rows = self.training[torch.randint(len(self.training), (loop.settings.batch_size,), generator=loop.generator)]
        share = torch.rand(len(rows), generator=loop.generator)
        items, scales = self._drawn(loop, rows, share)
        with loop.autocast():
            weak = _predicted(self.networks, items, scales)
        loss = (weak.float() - items.guided(scales)).square().mean() / self.unit
        return loss, {"loss": loss}

    def evaluate(self, loop: Loop) -> Figures:
        """Relative errors (`square_errors`) of the averaged weights on what is held out, at scales over the range."""
        shares = torch.arange(1, len(self.measured) + 1) * 0.618033989 % 1  # spread evenly whatever their number
        errors = []
        for rows, share in zip(self.measured.split(MEASURED_AT_ONCE), shares.split(MEASURED_AT_ONCE), strict=True):
            items, scales = self._drawn(loop, rows, share)
            with loop.autocast():
                weak = _predicted(loop.average, items, scales)
            errors.append(square_errors(weak, items, scales).cpu())
        whole, steps = torch.cat(errors), self.collected.step[self.measured]
        by_step = {str(int(step)): round(_relative(whole[steps == step]), 4) for step in steps.unique()}
        return {"validation": _relative(whole), "validation_by_step": by_step}

    def _drawn(self, loop: Loop, rows: Tensor, shares: Tensor) -> tuple[Items, Tensor]:
        """Items where the loop computes, and their scales at shares of the range, in [0, 1)."""
        items, (low, high) = self.collected.take(rows), self.guidance_range
        moved = {name: one.to(loop.device) for name, one in items.tensors().items()}
        return replace(items, **moved), (low + (high - low) * shares).to(loop.device)


def reflect(
    collection: str | Path,
    output: str | Path,
    settings: ReflectSettings | None = None,
    trackers: Sequence[Tracker] = (),
) -> Weak:
    """
    Train a weak model on collected steps, or go on training.

    The averaged weights are left in fp16 in `output/weak-model`, which `WeakModel.from_pretrained` and
    `--hook "weak-to-strong:weak=FOLDER"` read. The same call again goes on, bit-equal to a run that never stopped.

    Args:
        collection: folder that `collect` left.
        output: for the checkpoint, `log.jsonl` and the model.
        settings: the model's form and its training.
        trackers: are told the log's figures (`training.loop.Tracker`).

    Returns:
        the model with the averaged weights, in float32, where it was trained.

    Raises:
        CollectionError: for a folder without collected steps.
        WrongRunError: where the output holds another run, of other steps or settings.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
        ValueError: for predictions of a form that no weak model takes, or of one run.
    """
    settings, output = settings or ReflectSettings(), Path(output)
    collected = Collected(collection)
    model = _new_model(collected, settings)
    task = Reflection(model, collected, settings.guidance_range, settings.learning_rate)
    about: dict[str, Any] = {
        "recipe": "reflect",
        "collection": collected.content(),
        "guidance range": list(settings.guidance_range),
        "form": [settings.width, settings.layers, settings.patch_size],
    }
    loop_settings = LoopSettings(
        settings.total_items,
        settings.batch_size,
        settings.seed,
        _schedule,
        average_decay=lambda update: rising_decay(update, EMA_DECAY, 1, 10),
        gradient_norm=1.0,
        log_every=LOG_EVERY,
        evaluate_every=settings.evaluate_every,
        about=about,
    )

    def save(loop: Loop) -> None:
        copy.deepcopy(loop.average).half().save_pretrained(output / MODEL)

    loop = Loop(output, task, loop_settings, [Every(settings.evaluate_every, save, at_end=True)], trackers=trackers)
    loop.run()
    loop.close()
    weak: Weak = loop.average
    return weak


def _new_model(collected: Collected, settings: ReflectSettings) -> Weak:
    """First weights, in the form that collected steps need: of pictures, or of tokens."""
    first = collected.take(torch.tensor([0]))
    with initial_weights(settings.seed):
        model = _logits_model(first, settings) if first.conditional.ndim == 2 else _picture_model(collected, settings)
    _predicted(model, first, torch.tensor([2.0]))  # says now what does not fit
    return model


def _picture_model(collected: Collected, settings: ReflectSettings) -> WeakModel:
    first = collected.take(torch.tensor([0]))
    return WeakModel(
        prediction_channels=first.conditional.shape[1],
        sample_channels=first.sample.shape[1],
        condition_width=None if first.condition is None else first.condition.shape[1],
        width=settings.width,
        layers=settings.layers,
        patch_size=settings.patch_size,
        time_unit=1000.0 if float(collected.timestep.max()) <= 1 else 1.0,
        guidance_range=settings.guidance_range,
    )


def _logits_model(first: Items, settings: ReflectSettings) -> WeakLogitsModel:
    return WeakLogitsModel(
        vocab_size=first.conditional.shape[1],
        context=first.sample.shape[1] - 1,
        width=settings.width,
        guidance_range=settings.guidance_range,
    )


def _relative(errors: Tensor) -> float:
    """Of square errors (items, 2), all together."""
    miss, whole = errors.double().sum(0).tolist()
    return miss / whole if whole else 0.0


def _predicted(model: Weak, items: Items, scales: Tensor) -> Tensor:
    return model(items.conditional, items.sample, items.timestep, items.condition, scales)


def _schedule(progress: Progress) -> float:
    """A warm-up, a constant rate, and a linear decay."""
    return warm_up(progress, WARM_UP_ITEMS) * linear_decay(progress, DECAY_SHARE, least=1e-3)
