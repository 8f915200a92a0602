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
from ..loop import Figures, Loop
from ..loop_settings import LoopSettings
from ..randomness import initial_weights
from ..schedules import Progress, linear_decay, warm_up
from .autoencoder import reconstruct
from .command_line import recipe_parser, run_recipe
from .pixels import images_to_tensor
from .sprite_maps import focal_loss

BATCH = 64
PEAK_LEARNING_RATE, LEAST_LEARNING_RATE, WARM_UP_IMAGES = 2e-3, 1e-5, 6400
SPOILED_SHARE, MERGED_SHARE, CHANGED_SHARE = 0.35, 0.15, 0.1
GENERATED_EVERY, LATENT_NOISE = 3, 0.3
"""How often half of a batch goes through the autoencoder, and the largest noise on its latents, in their deviations."""
LOG_EVERY, EVALUATE_EVERY = 50, 400
HELD_OUT_SEED, HELD_OUT = 4242, 1000


def training_scene(rng: np.random.Generator) -> DrawnScene:
    """A scene, whole, or changed in the shares that the constants name."""
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
    """What the detector is to say of a batch: heat maps, boxes and where they count, and numbers of backgrounds."""

    heat: Tensor
    box: Tensor
    centre: Tensor
    background: Tensor


def targets(drawn: Sequence[DrawnScene]) -> Targets:
    """What is to be said of scenes, by the cells of the detector.

    Returns:
        heat maps (batch, 25, 16, 16), a Gaussian of deviation one cell around the cell of each centre; boxes (batch, 3,
        16, 16): where the centre lies in its cell, and the size as a share of the picture; where they count, 1 at the
        centres (batch, 1, 16, 16); numbers of backgrounds (batch,).
    """
    cells = scenes.IMAGE_SIZE // CELL
    rows, columns = np.mgrid[:cells, :cells]
    heat = np.zeros((len(drawn), len(scenes.OBJECTS) + 1, cells, cells), np.float32)
    box = np.zeros((len(drawn), 3, cells, cells), np.float32)
    centre = np.zeros((len(drawn), 1, cells, cells), np.float32)
    for i, picture in enumerate(drawn):
        kinds = [(scenes.OBJECTS.index(sprite.object), sprite) for sprite in picture.sprites]
        for k, sprite in kinds + [(len(scenes.OBJECTS), sprite) for sprite in picture.malformed]:
            x, y = (position / CELL for position in sprite.center)
            column, row = min(cells - 1, int(x)), min(cells - 1, int(y))
            bump = np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / 2)
            heat[i, k] = np.maximum(heat[i, k], bump)
            box[i, :, row, column] = x - column - 0.5, y - row - 0.5, sprite.size / scenes.IMAGE_SIZE
            centre[i, 0, row, column] = 1
    names: list[str | None] = list(scenes.BACKGROUNDS)
    backgrounds = [names.index(picture.scene.background) for picture in drawn]
    return Targets(torch.from_numpy(heat), torch.from_numpy(box), torch.from_numpy(centre), torch.tensor(backgrounds))


def degrade(x: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the batches lose sharpness, all gain noise: what a generator's pictures look like."""
    chance, share, deviation = torch.rand(3, generator=generator).tolist()
    if chance < 0.5:
        x = share * F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1) + (1 - share) * x
    return x + 0.12 * deviation * torch.randn(x.shape, generator=generator)


def exact_match(judge: DetectorVerifier, x: Tensor, drawn: Sequence[DrawnScene]) -> float:
    """Share of pictures of which the judge says all that is true and nothing else.

    That is: the whole sprites, the background, the relation, and whether anything is malformed.

    Args:
        judge: of the detector.
        x: pictures (batch, 3, height, width) in [-1, 1].
        drawn: what they show.
    """
    right = 0
    for start in range(0, len(x), judge.batch_size):
        seen = judge.detect((x[start : start + judge.batch_size] + 1) / 2)
        for sighting, picture in zip(seen, drawn[start : start + judge.batch_size], strict=True):
            whole = sorted(sprite.object for sprite in picture.sprites)
            verdict = Verdict(picture.scene, sighting)
            right += (
                sorted(spot.object for spot in sighting.found) == whole
                and bool(sighting.malformed) == bool(picture.malformed)
                and verdict.background_right
                and (not picture.shows(picture.scene) or verdict.relation_right is not False)
            )
    return right / len(x)


def through(
    autoencoder: AutoencoderKL, x: Tensor, noise: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Pictures (batch, 3, height, width) in [-1, 1] as a generator's latents would show them."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return reconstruct(autoencoder, x, noise, generator)


def schedule(progress: Progress) -> float:
    """A warm-up, and a linear decay over the whole run."""
    return warm_up(progress, WARM_UP_IMAGES) * linear_decay(progress, 1.0) + LEAST_LEARNING_RATE / PEAK_LEARNING_RATE


class DetectionTask:
    """Heat maps, boxes and backgrounds of scenes.

    Args:
        model: with its first weights.
        autoencoder: that some pictures go through.
    """

    def __init__(self, model: SceneDetector, autoencoder: AutoencoderKL):
        self.networks, self.autoencoder = model, autoencoder
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-3)
        rng = np.random.default_rng(HELD_OUT_SEED)
        images, self.real = scenes.draw_batch(rng, HELD_OUT)
        self.spoiled = [negatives.spoil(rng, drawn) for drawn in self.real]
        self.x_real = images_to_tensor(images)
        self.x_spoiled = images_to_tensor(np.stack([drawn.image for drawn in self.spoiled]))
        self.x_rebuilt = through(autoencoder, self.x_real)

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        drawn = [training_scene(loop.rng) for _ in range(loop.settings.batch_size)]
        x = images_to_tensor(np.stack([scene.image for scene in drawn]))
        if loop.progress.step % GENERATED_EVERY == 0:
            noise = LATENT_NOISE * float(torch.rand((), generator=loop.generator))
            x[::2] = through(self.autoencoder, x[::2], noise, loop.generator)
        x = degrade(x, loop.generator)
        wanted = targets(drawn)
        with loop.autocast():
            heat, box, background = self.networks(x)
        error = (wanted.centre * (box.float() - wanted.box).abs()).sum() / wanted.centre.sum().clamp_min(1)
        loss = focal_loss(heat.float(), wanted.heat) + error + F.cross_entropy(background.float(), wanted.background)
        return loss, {"loss": loss}

    def evaluate(self, loop: Loop) -> Figures:
        judge = DetectorVerifier(self.networks)
        figures = {
            "real": exact_match(judge, self.x_real, self.real),
            "rebuilt": exact_match(judge, self.x_rebuilt, self.real),
            "spoiled": exact_match(judge, self.x_spoiled, self.spoiled),
        }
        self.networks.train().requires_grad_(True)  # a verifier sets both
        return figures


def train(output: Path, autoencoder: AutoencoderKL, total_images: int, seed: int) -> SceneDetector:
    """Train, or go on training; the model is left in the folder as well.

    Raises:
        WrongRunError: where the folder holds another run.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
    """
    with initial_weights(seed):
        model = SceneDetector(malformed=True)
    settings = LoopSettings(
        total_images,
        BATCH,
        seed,
        schedule,
        bf16=True,
        cpu=True,
        log_every=LOG_EVERY,
        evaluate_every=EVALUATE_EVERY,
        about={"recipe": "detector"},
    )
    loop = Loop(output, DetectionTask(model.train(), autoencoder), settings)
    loop.run()
    model.eval().save_pretrained(output / "emoji-detector")
    return model


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=160_000)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    autoencoder = AutoencoderKL.from_pretrained(arguments.autoencoder).eval()
    train(arguments.output, autoencoder, arguments.images, arguments.seed)


if __name__ == "__main__":
    run_recipe(main)
