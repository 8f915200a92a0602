"""The judge: `python -m samplesmith.training.embedded.detector --output runs/detector --autoencoder FOLDER`.

Trained on scenes of which half hold sprites that are spoiled or run into each other, under blur and noise, some of them
after the autoencoder with noise on their latents: what a generator's pictures look like. What is malformed counts as no
object and has a map of its own.
Focal loss on heat maps of centres (arXiv 1904.07850, eq. 1), L1 of the boxes at the centres (eq. 2 and 3),
cross-entropy of the background.
Needs: `pip install samplesmith[train]`. About 80 images/s on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor

from ... import scenes
from ...models.scene_detector import CELL, SceneDetector
from ...scenes import DrawnScene, negatives
from ...verifiers.detector import DetectorVerifier, Verdict
from .autoencoder import reconstruct
from .run import Run, images_to_tensor, initial_weights, recipe_parser, set_learning_rate

BATCH = 64
PEAK_LEARNING_RATE = 2e-3
SPOILED_SHARE, MERGED_SHARE, CHANGED_SHARE = 0.35, 0.15, 0.1
GENERATED_EVERY, LATENT_NOISE = 3, 0.3
"""How often half of a batch goes through the autoencoder, and the largest noise on its latents, in their deviations."""
LOG_EVERY, EVALUATE_EVERY = 50, 400
HELD_OUT_SEED = 4242


def training_scene(rng: np.random.Generator) -> DrawnScene:
    drawn = scenes.draw(rng, scenes.sample_scene(rng, held_out=False))
    chance = rng.random()
    if chance < SPOILED_SHARE:
        drawn = negatives.spoil(rng, drawn)
        if drawn.sprites and rng.random() < 0.3:
            drawn = negatives.spoil(rng, drawn)
    elif chance < SPOILED_SHARE + MERGED_SHARE:
        drawn = negatives.merge(rng, drawn)
    elif chance < SPOILED_SHARE + MERGED_SHARE + CHANGED_SHARE:
        drawn = negatives.add(rng, drawn) or drawn
    return drawn


class Targets(NamedTuple):
    """What the detector is to say of a batch: heat maps, boxes and where they count, and indices of backgrounds."""

    heat: Tensor
    box: Tensor
    centre: Tensor
    background: Tensor


def targets(drawn: Sequence[DrawnScene]) -> Targets:
    """Heat maps (batch, 25, 16, 16): a Gaussian of deviation one cell around the cell of each centre; boxes (batch, 3,
    16, 16) that count at the centres alone, (batch, 1, 16, 16).
    """
    cells = scenes.IMAGE_SIZE // CELL
    rows, columns = np.mgrid[:cells, :cells]
    heat = np.zeros((len(drawn), len(scenes.OBJECTS) + 1, cells, cells), np.float32)
    box = np.zeros((len(drawn), 3, cells, cells), np.float32)
    centre = np.zeros((len(drawn), 1, cells, cells), np.float32)
    for i, one in enumerate(drawn):
        kinds = [(scenes.OBJECTS.index(sprite.object), sprite) for sprite in one.sprites]
        for k, sprite in kinds + [(len(scenes.OBJECTS), sprite) for sprite in one.malformed]:
            x, y = (position / CELL for position in sprite.center)
            column, row = min(cells - 1, int(x)), min(cells - 1, int(y))
            bump = np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / 2)
            heat[i, k] = np.maximum(heat[i, k], bump)
            box[i, :, row, column] = x - column - 0.5, y - row - 0.5, sprite.size / scenes.IMAGE_SIZE
            centre[i, 0, row, column] = 1
    backgrounds = [list(scenes.BACKGROUNDS).index(one.scene.background) for one in drawn]
    return Targets(torch.from_numpy(heat), torch.from_numpy(box), torch.from_numpy(centre), torch.tensor(backgrounds))


def focal_loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Objects as Points, eq. 1 (alpha = 2, beta = 4)."""
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = (target == 1).float()
    positive = centre * (1 - p) ** 2 * p.log()
    negative = (1 - centre) * (1 - target) ** 4 * p**2 * (1 - p).log()
    return -(positive + negative).sum() / centre.sum().clamp_min(1)


def degrade(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Half of the batches lose sharpness, all gain noise: what a generator's pictures look like."""
    chance, share, deviation = torch.rand(3, generator=generator).tolist()
    if chance < 0.5:
        x = share * F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1) + (1 - share) * x
    return x + 0.12 * deviation * torch.randn(x.shape, generator=generator)


def exact_match(judge: DetectorVerifier, x: torch.Tensor, drawn: Sequence[DrawnScene]) -> float:
    """Share of images in [-1, 1] of which the judge finds just the whole sprites, the background and the relation, and
    something malformed just where something is.
    """
    right = 0
    for start in range(0, len(x), judge.batch_size):
        seen = judge.detect((x[start : start + judge.batch_size] + 1) / 2)
        for sighting, one in zip(seen, drawn[start : start + judge.batch_size], strict=True):
            whole = sorted(sprite.object for sprite in one.sprites)
            verdict = Verdict(one.scene, sighting)
            right += (
                sorted(spot.object for spot in sighting.found) == whole
                and bool(sighting.malformed) == bool(one.malformed)
                and verdict.background_right
                and (not one.shows(one.scene) or verdict.relation_right is not False)
            )
    return right / len(x)


def through(autoencoder: AutoencoderKL, x: torch.Tensor, noise: float, generator: torch.Generator) -> torch.Tensor:
    """Pictures (batch, 3, height, width) in [-1, 1] as a generator's latents would show them."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return reconstruct(autoencoder, x, noise, generator)


def train(output: Path, autoencoder: AutoencoderKL, total_images: int, seed: int) -> SceneDetector:
    with initial_weights(seed):
        model = SceneDetector(malformed=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-3)
    run = Run(output, seed, total_images, {"model": model, "optimizer": optimizer})
    rng = np.random.default_rng(HELD_OUT_SEED)
    images, real = scenes.draw_batch(rng, 1000)
    spoiled = [negatives.spoil(rng, one) for one in real]
    x_real, x_spoiled = images_to_tensor(images), images_to_tensor(np.stack([one.image for one in spoiled]))
    x_rebuilt = through(autoencoder, x_real, 0.0, run.generator)

    while run.progress < 1:
        rate = PEAK_LEARNING_RATE * min(1, (run.step + 1) / 100) * (1 - run.progress) + 1e-5
        set_learning_rate(optimizer, rate)
        drawn = [training_scene(run.rng) for _ in range(BATCH)]
        x = images_to_tensor(np.stack([one.image for one in drawn]))
        if run.step % GENERATED_EVERY == 0:
            noise = LATENT_NOISE * float(torch.rand((), generator=run.generator))
            x[::2] = through(autoencoder, x[::2], noise, run.generator)
        x = degrade(x, run.generator)
        wanted = targets(drawn)
        model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            heat, box, background = model(x)
        error = (wanted.centre * (box.float() - wanted.box).abs()).sum() / wanted.centre.sum().clamp_min(1)
        loss = focal_loss(heat.float(), wanted.heat) + error + F.cross_entropy(background.float(), wanted.background)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.advance(BATCH)
        if run.step % LOG_EVERY == 0:
            run.log(loss=loss.item())
        if run.step % EVALUATE_EVERY == 0 or run.progress == 1:
            judge = DetectorVerifier(model)
            run.log(
                real=exact_match(judge, x_real, real),
                rebuilt=exact_match(judge, x_rebuilt, real),
                spoiled=exact_match(judge, x_spoiled, spoiled),
            )
            model.requires_grad_(True)
            run.save()

    model.eval().save_pretrained(output / "emoji-detector")
    return model


def main() -> None:
    parser = recipe_parser(__doc__, images=160_000)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    autoencoder = AutoencoderKL.from_pretrained(arguments.autoencoder).eval()
    train(arguments.output, autoencoder, arguments.images, arguments.seed)


if __name__ == "__main__":
    main()
