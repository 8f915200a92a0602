"""fashion-ddpm: `python -m samplesmith.training.embedded.fashion_ddpm --output runs/fashion-ddpm --compile`.

A class-conditional `DiTTransformer2DModel` on Fashion-MNIST's pixels, padded to 32 px. `--classes tops` and
`--classes rest` train fashion-tops and fashion-rest, two models of half the size without a class in common.
- Noise prediction on the linear schedule of 1,000 steps (Ho et al., arXiv 2006.11239, algorithm 1), a tenth of the
  labels replaced by the null class; errors weighted by min(SNR, 5) / SNR (Hang et al., arXiv 2303.09556, eq. 5).
- A transformer of patch 4 and not a U-Net: it trains on and samples nearly twice the images in the same time (the FID
  tables need many), and early in training its error was the lower one after the same time.
Needs the data set: `samplesmith.fashion.load`. 135 images/s on one core with AVX-512 bf16, 170 to 195 with `--compile`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel
from torch import Tensor, nn

from ... import fashion
from ...pipelines.class_conditional import ClassConditionalPipeline
from ..loop import Every, Figures, Loop
from ..randomness import initial_weights
from .command_line import recipe_parser, run_recipe
from .denoisers import denoiser_settings, optimizer_of, snr_weights, without_flash_attention
from .pixels import save_sheet
from .saved_pipeline import save_pipeline

PEAK_LEARNING_RATE = 1e-3
CLASS_DROPOUT = 0.1
EVALUATE_EVERY, SHEET_EVERY = 500, 2000
SHEET_ROWS = 4
MEASURED_AT_ONCE = 64
NULL_CLASS = len(fashion.CLASSES)
MODELS = {
    "all": ("fashion-ddpm", tuple(range(NULL_CLASS))),
    "tops": ("fashion-tops", fashion.TOPS),
    "rest": ("fashion-rest", fashion.REST),
}
"""Name and labels of each model that `--classes` can train; labels keep their numbers in all of them."""
HALF = {"width": 128, "layers": 4}
"""Size of the transformers that know half of the classes."""

Split = tuple[Tensor, Tensor]
"""Pictures (n, 1, 32, 32) in [-1, 1] and labels (n,)."""


def read_split(split: Literal["train", "test"], classes: Sequence[int], folder: Path | None = None) -> Split:
    """The pictures of some classes."""
    images, labels = fashion.load(split, folder)
    chosen = np.isin(labels, classes)
    pixels = torch.from_numpy(fashion.pad(images[chosen]))[:, None].float() / 127.5 - 1
    return pixels, torch.from_numpy(labels[chosen]).long()


def build_transformer(width: int = 160, layers: int = 5) -> DiTTransformer2DModel:
    """2.7 M parameters; its blocks begin as the identity and its output as zero (Peebles and Xie, arXiv 2212.09748)."""
    transformer = DiTTransformer2DModel(
        num_attention_heads=width // 32,
        attention_head_dim=32,
        in_channels=1,
        num_layers=layers,
        sample_size=fashion.PADDED_SIZE,
        patch_size=4,
        num_embeds_ada_norm=NULL_CLASS,
    )
    zeroed = [transformer.proj_out_1, transformer.proj_out_2]
    for layer in zeroed + [block.norm1.linear for block in transformer.transformer_blocks]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    # In training mode its label embedding drops classes by the global generator: ours are dropped before.
    return transformer.eval()


def build_scheduler() -> DDIMScheduler:
    """The linear schedule of 1,000 noise levels."""
    return DDIMScheduler(clip_sample=False)


def build_pipeline(transformer: DiTTransformer2DModel, classes: Sequence[int]) -> ClassConditionalPipeline:
    """The pipeline of a transformer, with the names of the classes that it knows."""
    names = {label: fashion.CLASSES[label] for label in classes}
    return ClassConditionalPipeline(build_scheduler(), transformer=transformer, id2label=names)


def stratified_times(count: int, steps: int, generator: torch.Generator) -> Tensor:
    """Training times (count,), one in each of `count` equal parts of the schedule."""
    return ((torch.arange(count) + torch.rand(count, generator=generator)) / count * steps).long()


@torch.no_grad()
def held_out_error(
    model: nn.Module, held_out: Split, scheduler: DDIMScheduler, autocast: Callable[[], torch.autocast]
) -> float:
    """Unweighted noise-prediction error on at most 512 pictures, times spread evenly, noise the same at each call."""
    x0, labels = held_out[0][:512], held_out[1][:512]
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(9))
    times = ((torch.arange(len(x0)) + 0.5) / len(x0) * len(scheduler.alphas_cumprod)).long()
    x = scheduler.add_noise(x0, noise, times)
    errors = []
    for part in torch.arange(len(x0)).split(MEASURED_AT_ONCE):
        with autocast():
            predicted = model(x[part], times[part], class_labels=labels[part], return_dict=False)[0]
        errors.append((predicted.float() - noise[part]).square().mean((1, 2, 3)))
    return torch.cat(errors).mean().item()


class NoiseTask:
    """The weighted error of the noise that is predicted.

    Args:
        transformer: with its first weights.
        training, held_out: pictures and labels.
        scheduler: whose noise levels are learned.
    """

    def __init__(self, transformer: DiTTransformer2DModel, training: Split, held_out: Split, scheduler: DDIMScheduler):
        self.networks, self.fast = transformer, transformer
        self.optimizer = optimizer_of(transformer, PEAK_LEARNING_RATE)
        self.images, self.labels = training
        self.held_out, self.scheduler = held_out, scheduler

    def compile(self) -> None:
        """Let `torch.compile` speed the transformer up; its weights stay where they are."""
        self.fast = torch.compile(self.networks)

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        count, alphas_cumprod = loop.settings.batch_size, self.scheduler.alphas_cumprod
        rows = torch.randint(len(self.images), (count,), generator=loop.generator)
        dropped = torch.rand(count, generator=loop.generator) < CLASS_DROPOUT
        times = stratified_times(count, len(alphas_cumprod), loop.generator)
        noise = torch.randn(count, *self.images.shape[1:], generator=loop.generator)
        x = self.scheduler.add_noise(self.images[rows], noise, times)
        with loop.autocast():
            classes = torch.where(dropped, NULL_CLASS, self.labels[rows])
            predicted = self.fast(x, times, class_labels=classes, return_dict=False)[0]
        errors = (predicted.float() - noise).square().mean((1, 2, 3))
        loss = (snr_weights(alphas_cumprod[times]) * errors).mean()
        return loss, {"loss": loss, "error": errors.mean()}

    def evaluate(self, loop: Loop) -> Figures:
        return {"validation": held_out_error(loop.average, self.held_out, self.scheduler, loop.autocast)}


def draw_sheet(pipeline: ClassConditionalPipeline, file: Path) -> None:
    """A column for each class."""
    pipeline.set_progress_bar_config(disable=True)
    classes = list(pipeline.labels.values())
    generators = [torch.Generator().manual_seed(i) for i in range(SHEET_ROWS * len(classes))]
    images = pipeline(
        classes * SHEET_ROWS, num_inference_steps=25, generator=generators, output_type="np", return_dict=False
    )[0]
    save_sheet((images[..., 0] * 255).round().astype(np.uint8), file, columns=len(classes))


def train(
    output: Path,
    name: str,
    training: Split,
    held_out: Split,
    total_images: int,
    seed: int,
    compiled: bool,
    bf16: bool = True,
) -> ClassConditionalPipeline:
    """Train, or go on training, on the classes that the pictures hold; returns the pipeline of the averaged weights.

    Raises:
        WrongRunError: where the folder holds another run.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
    """

    def show(loop: Loop) -> None:
        draw_sheet(pipeline, output / f"sheet_{loop.progress.images:07d}.png")
        save_pipeline(pipeline, output / name)

    with initial_weights(seed):
        transformer = build_transformer(**(HALF if name in ("fashion-tops", "fashion-rest") else {}))
    classes = training[1].unique().tolist()
    task = NoiseTask(transformer, training, held_out, build_scheduler())
    about = {"recipe": "fashion_ddpm", "classes": classes}
    settings = denoiser_settings(total_images, seed, EVALUATE_EVERY, first_weights=10, about=about, bf16=bf16)
    loop = Loop(output, task, settings, [Every(SHEET_EVERY, show, at_end=True)])
    if compiled:
        task.compile()
    pipeline = build_pipeline(loop.average, classes)
    if loop.progress.step == 0:
        loop.log(data_variance=training[0].var())  # what time shift's data_variance= takes
    loop.run()
    return pipeline


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=1_000_000, needs_autoencoder=False)
    parser.add_argument("--classes", choices=MODELS, default="all", help="what to train on, and so which model")
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's idx files")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the transformer: a third faster, after minutes"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    without_flash_attention()
    name, classes = MODELS[arguments.classes]
    training, held_out = (read_split(split, classes, arguments.data) for split in ("train", "test"))
    train(
        arguments.output,
        name,
        training,
        held_out,
        arguments.images,
        arguments.seed,
        compiled=arguments.compile,
        bf16=not arguments.float32,
    )


if __name__ == "__main__":
    run_recipe(main)
