"""fashion-classifier: `python -m samplesmith.training.embedded.fashion_classifier --output runs/fashion-classifier`.

Cross-entropy with smoothed labels on Fashion-MNIST, under shifts, erased squares and, except for the shoes, which all
point one way, mirroring; the average of the weights is kept.
Needs the data set: `samplesmith.fashion.load`. About 440 images/s on one core with AVX-512 bf16.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ... import fashion
from ...models.fashion_classifier import FashionClassifier
from ..averages import rising_decay
from ..loop import Figures, Loop
from ..loop_settings import LoopSettings
from ..randomness import initial_weights
from ..schedules import Progress, cosine, warm_up
from .command_line import recipe_parser, run_recipe

BATCH = 128
PEAK_LEARNING_RATE, LEAST_LEARNING_RATE, WARM_UP_IMAGES, WEIGHT_DECAY = 3e-3, 1e-6, 25_600, 0.05
LABEL_SMOOTHING = 0.05
LARGEST_SHIFT, ERASED_SIDE = 2, 8
EMA_DECAY = 0.998
LOG_EVERY, EVALUATE_EVERY = 50, 500
SHOES = (5, 7, 9)

Split = tuple[Tensor, Tensor]
"""Pictures (n, 1, 32, 32) in [0, 1] and labels (n,)."""


def read_split(split: Literal["train", "test"], folder: Path | None = None) -> Split:
    """All pictures, with their border."""
    images, labels = fashion.load(split, folder)
    return torch.from_numpy(fashion.pad(images))[:, None].float() / 255, torch.from_numpy(labels).long()


def augment(x: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of what is no shoe, shift each picture by up to two pixels, black out a square in each."""
    batch, _, height, width = x.shape
    shoes = torch.isin(labels, torch.tensor(SHOES))
    mirrored = (torch.rand(batch, generator=generator) < 0.5) & ~shoes
    x = torch.where(mirrored.view(-1, 1, 1, 1), x.flip(3), x)

    moves = torch.randint(-LARGEST_SHIFT, LARGEST_SHIFT + 1, (2, batch, 1), generator=generator)
    padded = F.pad(x[:, 0], [LARGEST_SHIFT] * 4)
    rows = torch.arange(height) + LARGEST_SHIFT + moves[0]
    columns = torch.arange(width) + LARGEST_SHIFT + moves[1]
    x = padded[torch.arange(batch)[:, None, None], rows[:, :, None], columns[:, None, :]]

    corners = torch.randint(0, height - ERASED_SIDE + 1, (2, batch, 1), generator=generator)
    in_rows, in_columns = (
        (torch.arange(height) >= first) & (torch.arange(height) < first + ERASED_SIDE) for first in corners
    )
    return x.masked_fill(in_rows[:, :, None] & in_columns[:, None, :], 0)[:, None]


@torch.no_grad()
def accuracy(model: FashionClassifier, images: Tensor, labels: Tensor) -> float:
    """Share of the pictures (n, 1, 32, 32) whose label (n,) has the largest logit."""
    right = [model(x).argmax(1) == y for x, y in zip(images.split(500), labels.split(500), strict=True)]
    return torch.cat(right).float().mean().item()


def schedule(progress: Progress) -> float:
    """A warm-up and a cosine."""
    return warm_up(progress, WARM_UP_IMAGES) * cosine(progress) + LEAST_LEARNING_RATE / PEAK_LEARNING_RATE


class ClassifierTask:
    """Cross-entropy with smoothed labels.

    Args:
        model: with its first weights.
        training, held_out: pictures and labels.
    """

    def __init__(self, model: FashionClassifier, training: Split, held_out: Split):
        self.networks = model
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True
        )
        self.images, self.labels = training
        self.held_out = held_out

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        rows = torch.randint(len(self.images), (loop.settings.batch_size,), generator=loop.generator)
        x, labels = augment(self.images[rows], self.labels[rows], loop.generator), self.labels[rows]
        with loop.autocast():
            logits = self.networks(x)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=LABEL_SMOOTHING)
        return loss, {"loss": loss}

    def evaluate(self, loop: Loop) -> Figures:
        return {"accuracy": accuracy(loop.average, *self.held_out)}


def train(
    output: Path, training: Split, held_out: Split, total_images: int, seed: int, bf16: bool = True
) -> FashionClassifier:
    """Train, or go on training; the averaged weights are returned, and left in fp16 in the folder.

    Raises:
        WrongRunError: where the folder holds another run.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
    """
    with initial_weights(seed):
        model = FashionClassifier()
    model.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    settings = LoopSettings(
        total_images,
        BATCH,
        seed,
        schedule,
        average_decay=lambda update: rising_decay(update, EMA_DECAY, 1, 10),
        average_buffers=True,
        bf16=bf16,
        cpu=True,
        log_every=LOG_EVERY,
        evaluate_every=EVALUATE_EVERY,
        about={"recipe": "fashion_classifier"},
    )
    loop = Loop(output, ClassifierTask(model.train(), training, held_out), settings)
    loop.run()
    half = copy.deepcopy(loop.average).to(memory_format=torch.contiguous_format).half()
    half.save_pretrained(output / "fashion-classifier")
    return loop.average


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=720_000, needs_autoencoder=False)
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's idx files")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    training, held_out = read_split("train", arguments.data), read_split("test", arguments.data)
    train(arguments.output, training, held_out, arguments.images, arguments.seed, bf16=not arguments.float32)


if __name__ == "__main__":
    run_recipe(main)
