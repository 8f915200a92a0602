"""fashion-ddpm: `python -m samplesmith.training.embedded.fashion_ddpm --output runs/fashion-ddpm --compile`.

A class-conditional `DiTTransformer2DModel` on Fashion-MNIST's pixels, padded to 32 px. `--classes tops` and
`--classes rest` train fashion-tops and fashion-rest, two models of the same form without a class in common.
- Noise prediction on the linear schedule of 1,000 steps (Ho et al., arXiv 2006.11239, algorithm 1), a tenth of the
  labels replaced by the null class; errors weighted by min(SNR, 5) / SNR (Hang et al., arXiv 2303.09556, eq. 5).
- A transformer of patch 4 and not a U-Net: it trains on and samples nearly twice the images in the same time (the FID
  tables need many), and early in training its error was the lower one after the same time.
Needs the data set: `samplesmith.fashion.load`. 135 images/s on one core with AVX-512 bf16, 170 to 195 with `--compile`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, DiTTransformer2DModel
from PIL import Image
from torch import nn

from ... import fashion
from ...pipelines.class_conditional import ClassConditionalPipeline
from .run import Run, initial_weights, recipe_parser, save_pipeline, set_learning_rate

BATCH = 64
PEAK_LEARNING_RATE, WARM_UP_STEPS, DECAY_SHARE = 1e-3, 300, 0.4
CLASS_DROPOUT = 0.1
SNR_CEILING = 5.0
EMA_DECAY = 0.9995
LOG_EVERY, EVALUATE_EVERY, SHEET_EVERY = 50, 500, 2000
SHEET_ROWS = 4
NULL_CLASS = len(fashion.CLASSES)
MODELS = {
    "all": ("fashion-ddpm", tuple(range(NULL_CLASS))),
    "tops": ("fashion-tops", fashion.TOPS),
    "rest": ("fashion-rest", fashion.REST),
}
"""Name and labels of each model that `--classes` can train; labels keep their numbers in all of them."""

Split = tuple[torch.Tensor, torch.Tensor]
"""Pictures (n, 1, 32, 32) in [-1, 1] and labels (n,)."""


def read_split(split: str, classes: Sequence[int], folder: Path | None = None) -> Split:
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


def build_pipeline(transformer: DiTTransformer2DModel, classes: Sequence[int]) -> ClassConditionalPipeline:
    names = {label: fashion.CLASSES[label] for label in classes}
    return ClassConditionalPipeline(DDIMScheduler(clip_sample=False), transformer=transformer, id2label=names)


def noise_images(x0: torch.Tensor, noise: torch.Tensor, alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """x_t (arXiv 2006.11239, eq. 4); alpha bar is one a row."""
    alpha_bar = alphas_cumprod.view(-1, 1, 1, 1)
    return alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise


def loss_weights(alphas_cumprod: torch.Tensor) -> torch.Tensor:
    """min(SNR, 5) / SNR, (batch,)."""
    snr = alphas_cumprod / (1 - alphas_cumprod)
    return snr.clamp(max=SNR_CEILING) / snr


def stratified_times(count: int, steps: int, generator: torch.Generator) -> torch.Tensor:
    """One training time of each of `count` equal parts of the schedule."""
    return ((torch.arange(count) + torch.rand(count, generator=generator)) / count * steps).long()


@torch.no_grad()
def held_out_error(model: nn.Module, held_out: Split, alphas_cumprod: torch.Tensor) -> float:
    """Unweighted noise-prediction error on at most 512 pictures, times spread evenly, noise the same at each call."""
    x0, labels = held_out[0][:512], held_out[1][:512]
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(9))
    times = ((torch.arange(len(x0)) + 0.5) / len(x0) * len(alphas_cumprod)).long()
    x = noise_images(x0, noise, alphas_cumprod[times])
    errors = []
    for part in torch.arange(len(x0)).split(BATCH):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = model(x[part], times[part], class_labels=labels[part], return_dict=False)[0]
        errors.append((predicted.float() - noise[part]).square().mean((1, 2, 3)))
    return torch.cat(errors).mean().item()


def save_sheet(pipeline: ClassConditionalPipeline, file: Path) -> None:
    """A column a class."""
    pipeline.set_progress_bar_config(disable=True)
    classes = list(pipeline.labels.values())
    generators = [torch.Generator().manual_seed(i) for i in range(SHEET_ROWS * len(classes))]
    images = pipeline(classes * SHEET_ROWS, num_inference_steps=25, generator=generators, output_type="np").images
    pixels = (images[..., 0] * 255).round().astype(np.uint8)
    rows = [np.concatenate(list(row), 1) for row in np.split(pixels, SHEET_ROWS)]
    Image.fromarray(np.concatenate(rows)).save(file)


def train(
    output: Path, name: str, training: Split, held_out: Split, total_images: int, seed: int, compiled: bool
) -> ClassConditionalPipeline:
    """Train on the classes that the pictures hold."""
    images, labels = training
    with initial_weights(seed):
        transformer = build_transformer()
    average = copy.deepcopy(transformer).requires_grad_(False)
    parameters, averaged = list(transformer.parameters()), list(average.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    run = Run(output, seed, total_images, {"transformer": transformer, "average": average, "optimizer": optimizer})
    fast = torch.compile(transformer) if compiled else transformer
    pipeline = build_pipeline(average, labels.unique().tolist())
    alphas_cumprod = pipeline.scheduler.alphas_cumprod
    if run.step == 0:
        run.log(data_variance=images.var().item())  # what time shift's data_variance= takes

    while run.progress < 1:
        decay = min(1, (1 - run.progress) / DECAY_SHARE + 1e-3)
        set_learning_rate(optimizer, PEAK_LEARNING_RATE * min(1, (run.step + 1) / WARM_UP_STEPS) * decay)
        rows = torch.randint(len(images), (BATCH,), generator=run.generator)
        dropped = torch.rand(BATCH, generator=run.generator) < CLASS_DROPOUT
        times = stratified_times(BATCH, len(alphas_cumprod), run.generator)
        noise = torch.randn(BATCH, *images.shape[1:], generator=run.generator)
        x = noise_images(images[rows], noise, alphas_cumprod[times])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            classes = torch.where(dropped, NULL_CLASS, labels[rows])
            predicted = fast(x, times, class_labels=classes, return_dict=False)[0]
        errors = (predicted.float() - noise).square().mean((1, 2, 3))
        loss = (loss_weights(alphas_cumprod[times]) * errors).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        run.advance(BATCH)
        torch._foreach_lerp_(averaged, parameters, 1 - min(EMA_DECAY, (10 + run.step) / (20 + run.step)))

        if run.step % LOG_EVERY == 0:
            run.log(loss=loss.item(), error=errors.mean().item())
        if run.step % EVALUATE_EVERY == 0 or run.progress == 1:
            run.log(validation=held_out_error(average, held_out, alphas_cumprod))
            run.save()
        if run.step % SHEET_EVERY == 0 or run.progress == 1:
            save_sheet(pipeline, output / f"sheet_{run.images:07d}.png")
            save_pipeline(pipeline, output / name)
    return pipeline


def main() -> None:
    parser = recipe_parser(__doc__, images=1_000_000, needs_autoencoder=False)
    parser.add_argument("--classes", choices=MODELS, default="all", help="what to train on, and so which model")
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's idx files")
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile the transformer: a third faster, after minutes"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # The CPU flash kernel is slow at 64 tokens; these switches rule the CPU too.
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    name, classes = MODELS[arguments.classes]
    training, held_out = (read_split(split, classes, arguments.data) for split in ("train", "test"))
    train(arguments.output, name, training, held_out, arguments.images, arguments.seed, compiled=arguments.compile)


if __name__ == "__main__":
    main()
