"""How the emoji generators are trained: a loop over latent scenes with a moving average, checkpoints and sheets."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPTokenizer

from ... import scenes
from .detector import focal_loss
from .latents import Batch, LatentScenes
from .run import Run, save_pipeline, set_learning_rate

BATCH = 64
WARM_UP_STEPS, DECAY_SHARE = 300, 0.4
EMA_DECAY = 0.9995
FIND_WEIGHT = 0.05
LOG_EVERY, EVALUATE_EVERY, SHEET_EVERY = 50, 250, 1000
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
    def error(self, batch: Batch, run: Run) -> Tensor:
        """Loss of a training batch; leaves `features` (batch, 64 patches, width)."""

    @abstractmethod
    def validation_error(self, batch: Batch) -> float:
        """Loss at fixed noises and noise levels."""

    @abstractmethod
    def pipeline(self, autoencoder: nn.Module, tokenizer: CLIPTokenizer) -> DiffusionPipeline:
        """The stock pipeline of these weights."""


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
) -> DiffusionPipeline:
    """Train, or go on training: a warm-up, a constant rate, and a linear decay over the last `DECAY_SHARE`.

    Args:
        net: with its first weights.
        data: the scenes.
        autoencoder: of the latents, for sheets and the pipeline.
        output: folder of the run; the pipeline is left in its folder `pipeline`.
        total_images: where the run ends.
        seed: of the run.
        peak_learning_rate: after the warm-up.
        compiled: whether the denoiser is compiled.
        sheet_arguments: of the pipeline's call for the pictures in the folder.

    Returns:
        the pipeline of the averaged weights.
    """
    average = copy.deepcopy(net).requires_grad_(False).eval()
    parameters, averaged = list(net.parameters()), list(average.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=peak_learning_rate, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    run = Run(output, seed, total_images, {"flow": net, "average": average, "optimizer": optimizer})
    if compiled:
        net.compile()
    pipeline = average.pipeline(autoencoder, data.tokenizer)

    while run.progress < 1:
        decay = min(1, (1 - run.progress) / DECAY_SHARE + 1e-3)
        set_learning_rate(optimizer, peak_learning_rate * min(1, (run.step + 1) / WARM_UP_STEPS) * decay)
        batch = data.draw(run, BATCH)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            error = net.error(batch, run)
            found = net.finder(net.features)
        find = focal_loss(found.float(), batch.maps.float())
        loss = error + FIND_WEIGHT * find
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        run.advance(BATCH)
        torch._foreach_lerp_(averaged, parameters, 1 - min(EMA_DECAY, (40 + run.step) / (50 + run.step)))

        if run.step % LOG_EVERY == 0:
            run.log(error=error.item(), find=find.item())
        if run.step % EVALUATE_EVERY == 0 or run.progress == 1:
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                run.log(validation=average.validation_error(data.validation))
            run.save()
        if run.step % SHEET_EVERY == 0:
            save_sheet(pipeline, output / f"sheet_{run.images:07d}.png", sheet_arguments)
            save_pipeline(pipeline, output / "pipeline")

    save_pipeline(pipeline, output / "pipeline")
    return pipeline


def save_sheet(pipeline: DiffusionPipeline, file: Path, arguments: dict[str, Any], columns: int = 8) -> None:
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        list(SHEET),
        height=scenes.IMAGE_SIZE,
        width=scenes.IMAGE_SIZE,
        generator=[torch.Generator().manual_seed(i) for i in range(len(SHEET))],
        output_type="np",
        **arguments,
    ).images
    pixels = (images * 255).round().astype(np.uint8)
    rows = [np.concatenate(list(pixels[i : i + columns]), 1) for i in range(0, len(pixels), columns)]
    Image.fromarray(np.concatenate(rows)).save(file)
