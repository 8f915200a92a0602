"""How the emoji generators are trained: a denoiser and its text encoder on latent scenes, with sheets on the way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from transformers import CLIPTokenizer

from ... import scenes
from ..loop import Every, Figures, Loop
from .denoisers import denoiser_settings, optimizer_of
from .latents import Batch, LatentScenes
from .pixels import save_sheet
from .saved_pipeline import save_pipeline
from .sprite_maps import focal_loss

FIND_WEIGHT = 0.05
EVALUATE_EVERY, SHEET_EVERY = 250, 1000
SHEET = (
    "a cat on pink", "a bicycle on gray", "two dogs on green", "2 houses on white", "three cats on blue",
    "four robots", "five fish on pink", "six hearts on white", "a cat and a dog on yellow",
    "with a robot", "a car left of a tree on yellow", "with an umbrella left of a boat",
    "with a star and a house", "two cats and three stars on blue", "a frog and a ball and a house on pink", "on green",
)  # fmt: skip


class Generator(nn.Module, ABC):
    """A denoiser, its text encoder, and a head that finds the sprites in the denoiser's features: what is trained.

    The head's weights are dropped afterwards: supervision of the representation, as REPA (Yu et al., arXiv 2410.06940)
    has it, by the known layout instead of a teacher.
    """

    def __init__(self, denoiser: nn.Module, text_encoder: nn.Module, width: int):
        super().__init__()
        self.denoiser, self.text_encoder = denoiser, text_encoder
        self.finder = nn.Linear(width, len(scenes.OBJECTS))
        nn.init.constant_(self.finder.bias, -4.0)
        self.features: Tensor | None = None

    def compile(self) -> None:
        """Let `torch.compile` speed the denoiser up; its weights stay where they are."""
        object.__setattr__(self, "fast", torch.compile(self.denoiser))

    @abstractmethod
    def error(self, batch: Batch, loop: Loop) -> Tensor:
        """Loss of a training batch; leaves `features` (batch, 64 patches, width)."""

    @abstractmethod
    def validation_error(self, batch: Batch) -> float:
        """Loss at fixed noises and noise levels."""

    @abstractmethod
    def pipeline(self, autoencoder: nn.Module, tokenizer: CLIPTokenizer) -> DiffusionPipeline:
        """The stock pipeline of these weights."""


class GeneratorTask:
    """The error of the denoiser, and of the head that finds the sprites.

    Args:
        net: with its first weights.
        data: the scenes.
        peak_learning_rate: after the warm-up.
    """

    def __init__(self, net: Generator, data: LatentScenes, peak_learning_rate: float):
        self.networks, self.data = net, data
        self.optimizer = optimizer_of(net, peak_learning_rate)

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        batch = self.data.draw(loop, loop.settings.batch_size)
        with loop.autocast():
            error = self.networks.error(batch, loop)
            found = self.networks.finder(self.networks.features)
        find = focal_loss(found.float(), batch.maps.float())
        return error + FIND_WEIGHT * find, {"error": error, "find": find}

    def evaluate(self, loop: Loop) -> Figures:
        with loop.autocast():
            return {"validation": loop.average.validation_error(self.data.validation)}


def train_generator(
    net: Generator,
    data: LatentScenes,
    autoencoder: nn.Module,
    output: Path,
    total_images: int,
    seed: int,
    peak_learning_rate: float,
    compiled: bool,
    sheet_arguments: dict[str, Any],
    about: dict[str, Any],
    bf16: bool = True,
) -> DiffusionPipeline:
    """Train, or go on training.

    Args:
        net: with its first weights, in training mode.
        data: the scenes.
        autoencoder: of the latents, for sheets and the pipeline.
        output: folder of the run; the pipeline is left in its folder `pipeline`.
        total_images: where the run ends.
        seed: of the run.
        peak_learning_rate: after the warm-up.
        compiled: whether the denoiser is compiled.
        sheet_arguments: of the pipeline's call for the pictures in the folder.
        about: what tells the run from others.
        bf16: whether it computes in bfloat16.

    Returns:
        the pipeline of the averaged weights.

    Raises:
        WrongRunError: where the folder holds another run.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
    """

    def show(loop: Loop) -> None:
        draw_sheet(pipeline, output / f"sheet_{loop.progress.images:07d}.png", sheet_arguments)
        save_pipeline(pipeline, output / "pipeline")

    about = {**about, "scenes": len(data.scenes)}
    settings = denoiser_settings(total_images, seed, EVALUATE_EVERY, first_weights=40, about=about, bf16=bf16)
    loop = Loop(output, GeneratorTask(net, data, peak_learning_rate), settings, [Every(SHEET_EVERY, show)])
    if compiled:
        net.compile()
    pipeline = loop.average.pipeline(autoencoder, data.tokenizer)
    loop.run()
    save_pipeline(pipeline, output / "pipeline")
    return pipeline


def draw_sheet(pipeline: DiffusionPipeline, file: Path, arguments: dict[str, Any]) -> None:
    """Pictures of the captions in `SHEET`, each of its own seed, eight per row."""
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        list(SHEET),
        height=scenes.IMAGE_SIZE,
        width=scenes.IMAGE_SIZE,
        generator=[torch.Generator().manual_seed(i) for i in range(len(SHEET))],
        output_type="np",
        **arguments,
    ).images
    save_sheet((images * 255).round().astype(np.uint8), file, columns=8)
