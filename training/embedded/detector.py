"""emoji-detector, the judge: `python -m samplesmith.training.embedded.detector --output runs/detector`.

Trained on scenes of which half hold a spoiled sprite that counts as none, under blur and noise, so that it is strict.
Focal loss on heat maps of centres (arXiv 1904.07850, eq. 1) + cross-entropy of the background.
Needs: `pip install samplesmith[train]`. About 110 images/s on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from ... import scenes
from ...scenes import DrawnScene, negatives
from ...verifiers.detector import CELL, DetectorVerifier, SceneDetector, Verdict
from .run import Run, images_to_tensor, initial_weights, recipe_parser, set_learning_rate

BATCH = 64
PEAK_LEARNING_RATE = 2e-3
SPOILED_SHARE, CHANGED_SHARE = 0.45, 0.1
LOG_EVERY, EVALUATE_EVERY = 50, 400
HELD_OUT_SEED = 4242


def training_scene(rng: np.random.Generator) -> DrawnScene:
    drawn = scenes.draw(rng, scenes.sample_scene(rng, held_out=False))
    chance = rng.random()
    if chance < SPOILED_SHARE:
        drawn = negatives.spoil(rng, drawn)
        if drawn.sprites and rng.random() < 0.3:
            drawn = negatives.spoil(rng, drawn)
    elif chance < SPOILED_SHARE + CHANGED_SHARE:
        drawn = negatives.add(rng, drawn) or drawn
    return drawn


def heat_maps(drawn: Sequence[DrawnScene]) -> torch.Tensor:
    """(batch, 24, 16, 16): a Gaussian of deviation one cell around the cell of each centre."""
    cells = scenes.IMAGE_SIZE // CELL
    rows, columns = np.mgrid[:cells, :cells]
    maps = np.zeros((len(drawn), len(scenes.OBJECTS), cells, cells), np.float32)
    for one, target in zip(drawn, maps, strict=True):
        for sprite in one.sprites:
            column, row = (min(cells - 1, int(position / CELL)) for position in sprite.center)
            k = scenes.OBJECTS.index(sprite.object)
            bump = np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / 2)
            target[k] = np.maximum(target[k], bump)
    return torch.from_numpy(maps)


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
    """Share of images in [-1, 1] of which the judge finds just the whole sprites, the background and the relation."""
    right = 0
    for start in range(0, len(x), judge.batch_size):
        found = judge.detect((x[start : start + judge.batch_size] + 1) / 2)
        for (background, spots), one in zip(found, drawn[start : start + judge.batch_size], strict=True):
            whole = sorted(sprite.object for sprite in one.sprites)
            verdict = Verdict(one.scene, background, spots)
            intact = whole == sorted(group.object for group in one.scene.groups for _ in range(group.count))
            right += (
                sorted(name for name, _, _ in spots) == whole
                and verdict.background_right
                and (not intact or verdict.relation_right is not False)
            )
    return right / len(x)


def train(output: Path, total_images: int, seed: int) -> SceneDetector:
    with initial_weights(seed):
        model = SceneDetector()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-3)
    run = Run(output, seed, total_images, {"model": model, "optimizer": optimizer})
    rng = np.random.default_rng(HELD_OUT_SEED)
    images, real = scenes.draw_batch(rng, 1000)
    spoiled = [negatives.spoil(rng, one) for one in real]
    x_real, x_spoiled = images_to_tensor(images), images_to_tensor(np.stack([one.image for one in spoiled]))

    while run.progress < 1:
        rate = PEAK_LEARNING_RATE * min(1, (run.step + 1) / 100) * (1 - run.progress) + 1e-5
        set_learning_rate(optimizer, rate)
        drawn = [training_scene(run.rng) for _ in range(BATCH)]
        x = degrade(images_to_tensor(np.stack([one.image for one in drawn])), run.generator)
        backgrounds = torch.tensor([list(scenes.BACKGROUNDS).index(one.scene.background) for one in drawn])
        model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            heat, background = model(x)
        loss = focal_loss(heat.float(), heat_maps(drawn)) + F.cross_entropy(background.float(), backgrounds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        run.advance(BATCH)
        if run.step % LOG_EVERY == 0:
            run.log(loss=loss.item())
        if run.step % EVALUATE_EVERY == 0 or run.progress == 1:
            judge = DetectorVerifier(model)
            run.log(real=exact_match(judge, x_real, real), spoiled=exact_match(judge, x_spoiled, spoiled))
            model.requires_grad_(True)
            run.save()

    model.eval().save_pretrained(output / "emoji-detector")
    return model


def main() -> None:
    parser = recipe_parser(__doc__, images=160_000, needs_autoencoder=False)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.output, arguments.images, arguments.seed)


if __name__ == "__main__":
    main()
