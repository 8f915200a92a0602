"""The judge: `python -m samplesmith.training.embedded.detector --output runs/detector --generator FOLDER`.

Two thirds of a batch are scenes, of which half hold sprites that are spoiled or run into each other, under blur and
noise, some of them after the autoencoder with noise on their latents. One third are pictures that a generator drew
(`--generator`), labelled by `generated_scenes.py` and, for the shipped emoji-sd3, corrected by an eye
(`second_look.py`): spoiled sprites alone do not teach what melted ones look like. What is malformed counts as no object
and has a map of its own.
Focal loss on heat maps of centres (arXiv 1904.07850, eq. 1), L1 of the boxes at the centres (eq. 2 and 3),
cross-entropy of the background.
Needs: `pip install samplesmith[train]`. About 80 images/s on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, StableDiffusion3Pipeline
from torch import Tensor

from ... import scenes
from ...models.scene_detector import CELL, SceneDetector
from ...scenes import DrawnScene, negatives
from ...verifiers.detector import DetectorVerifier, Sighting, Verdict
from ...verifiers.identity import hash_weights
from ..loop import Figures, Loop
from ..loop_settings import LoopSettings
from ..randomness import initial_weights
from ..schedules import Progress, linear_decay, warm_up
from .autoencoder import reconstruct
from .command_line import recipe_parser, run_recipe
from .generated_scenes import GeneratedScene, generate_scenes
from .pixels import images_to_tensor
from .second_look import corrected, read_corrections
from .sprite_maps import focal_loss

BATCH = 64
PEAK_LEARNING_RATE, LEAST_LEARNING_RATE, WARM_UP_IMAGES = 2e-3, 1e-5, 6400
SPOILED_SHARE, MERGED_SHARE, CHANGED_SHARE = 0.35, 0.15, 0.1
REBUILT_EVERY, LATENT_NOISE = 3, 0.3
"""How often half of a batch's scenes go through the autoencoder, and the largest noise on their latents, in their
deviations."""
GENERATED_SHARE = 1 / 3
GENERATED_SEED, MOVED = 90_000, 12
"""Of the generated pictures, and by how many pixels they are moved at most, each time that they are shown."""
LOG_EVERY, EVALUATE_EVERY = 50, 400
HELD_OUT_SEED, HELD_OUT, UNSEEN = 4242, 1000, 250


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
    """What the detector is to say of a batch: maps of objects and boxes, where each counts, and backgrounds."""

    heat: Tensor
    box: Tensor
    centre: Tensor
    counted: Tensor
    background: Tensor


def targets(drawn: Sequence[DrawnScene | GeneratedScene]) -> Targets:
    """What is to be said of scenes, by the cells of the detector.

    Returns:
        heat maps (batch, 25, 16, 16), a Gaussian of deviation one cell around the cell of each centre; boxes (batch, 3,
        16, 16): where the centre lies in its cell, and the size as a share of the picture; where they count, 1 at the
        centres (batch, 1, 16, 16); where the heat maps count, 0 over what is doubtful (batch, 1, 16, 16); numbers of
        backgrounds (batch,).
    """
    cells = scenes.IMAGE_SIZE // CELL
    rows, columns = np.mgrid[:cells, :cells]
    heat = np.zeros((len(drawn), len(scenes.OBJECTS) + 1, cells, cells), np.float32)
    box = np.zeros((len(drawn), 3, cells, cells), np.float32)
    centre = np.zeros((len(drawn), 1, cells, cells), np.float32)
    counted = np.ones((len(drawn), 1, cells, cells), np.float32)
    for i, picture in enumerate(drawn):
        kinds = [(scenes.OBJECTS.index(sprite.object), sprite) for sprite in picture.sprites]
        for k, sprite in kinds + [(len(scenes.OBJECTS), sprite) for sprite in picture.malformed]:
            x, y = (position / CELL for position in sprite.center)
            column, row = int(np.clip(x, 0, cells - 1)), int(np.clip(y, 0, cells - 1))
            bump = np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / 2)
            heat[i, k] = np.maximum(heat[i, k], bump)
            box[i, :, row, column] = x - column - 0.5, y - row - 0.5, sprite.size / scenes.IMAGE_SIZE
            centre[i, 0, row, column] = 1
        for sprite in picture.doubtful if isinstance(picture, GeneratedScene) else ():
            (x, y), reach = (position / CELL for position in sprite.center), sprite.size / 2 / CELL
            counted[i, 0][(np.abs(rows + 0.5 - y) <= reach) & (np.abs(columns + 0.5 - x) <= reach)] = 0
    names: list[str | None] = list(scenes.BACKGROUNDS)
    backgrounds = torch.tensor([names.index(picture.background) for picture in drawn])
    heat_map, box_map, centres, counts = (torch.from_numpy(some) for some in (heat, box, centre, counted))
    return Targets(heat_map, box_map, centres, counts, backgrounds)


def moved(rng: np.random.Generator, picture: GeneratedScene) -> GeneratedScene:
    """A picture moved by up to `MOVED` pixels, as far as what is seen in it allows."""
    seen = (*picture.sprites, *picture.malformed, *picture.doubtful)
    dx, dy = (
        _shift(rng, [(start, sprite.size) for start, sprite in zip(starts, seen, strict=True)])
        for starts in ([sprite.x for sprite in seen], [sprite.y for sprite in seen])
    )
    image = np.empty_like(picture.image)
    image[:] = scenes.BACKGROUNDS[picture.background]
    side = len(image)
    image[max(dy, 0) : side + min(dy, 0), max(dx, 0) : side + min(dx, 0)] = picture.image[
        max(-dy, 0) : side + min(-dy, 0), max(-dx, 0) : side + min(-dx, 0)
    ]
    parts = (
        tuple(replace(sprite, x=sprite.x + dx, y=sprite.y + dy) for sprite in some)
        for some in (picture.sprites, picture.malformed, picture.doubtful)
    )
    return GeneratedScene(image, picture.background, *parts)


def _shift(rng: np.random.Generator, spans: Sequence[tuple[int, int]]) -> int:
    """By how much all of (start, size) may move along a side and stay in the picture."""
    low = min([MOVED, *(start for start, _ in spans)])
    high = min([MOVED, *(scenes.IMAGE_SIZE - start - size for start, size in spans)])
    return int(rng.integers(-max(low, 0), max(high, 0) + 1))


def degrade(x: Tensor, generator: torch.Generator) -> Tensor:
    """Half of the batches lose sharpness, all gain noise: what a generator's pictures look like."""
    chance, share, deviation = torch.rand(3, generator=generator).tolist()
    if chance < 0.5:
        x = share * F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1) + (1 - share) * x
    return x + 0.12 * deviation * torch.randn(x.shape, generator=generator)


def told(sighting: Sighting, picture: DrawnScene | GeneratedScene, objects: bool = True) -> bool:
    """Whether the background, that anything is malformed and, if asked, the whole sprites are said as they are."""
    return (
        sighting.background == picture.background
        and bool(sighting.malformed) == bool(picture.malformed)
        and (
            not objects
            or sorted(spot.object for spot in sighting.found) == sorted(sprite.object for sprite in picture.sprites)
        )
    )


def exact_match(judge: DetectorVerifier, x: Tensor, drawn: Sequence[DrawnScene]) -> float:
    """Share of pictures (batch, 3, height, width) in [-1, 1] of which the judge says what they show, relations too."""
    right = 0
    for start in range(0, len(x), judge.batch_size):
        seen = judge.detect((x[start : start + judge.batch_size] + 1) / 2)
        for sighting, picture in zip(seen, drawn[start : start + judge.batch_size], strict=True):
            misplaced = picture.shows(picture.scene) and Verdict(picture.scene, sighting).relation_right is False
            right += told(sighting, picture) and not misplaced
    return right / len(x)


def agreement(judge: DetectorVerifier, x: Tensor, generated: Sequence[GeneratedScene]) -> float:
    """Share of generated pictures (batch, 3, height, width) in [-1, 1] of which the judge says what their labels say.

    The doubtful are left out, and so are the whole sprites beside malformed ones.
    """
    seen = judge.detect((x + 1) / 2)
    plain = [(sighting, label) for sighting, label in zip(seen, generated, strict=True) if not label.doubtful]
    right = [told(sighting, label, objects=not label.malformed) for sighting, label in plain]
    return sum(right) / max(1, len(right))


def through(
    autoencoder: AutoencoderKL,
    x: Tensor,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    bf16: bool = True,
) -> Tensor:
    """Pictures (batch, 3, height, width) in [-1, 1] as a generator's latents would show them."""
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return reconstruct(autoencoder, x, noise, generator)


def schedule(progress: Progress) -> float:
    """A warm-up, and a linear decay over the whole run."""
    return warm_up(progress, WARM_UP_IMAGES) * linear_decay(progress, 1.0) + LEAST_LEARNING_RATE / PEAK_LEARNING_RATE


class DetectionTask:
    """Heat maps, boxes and backgrounds of scenes.

    Args:
        model: with its first weights.
        autoencoder: that some pictures go through.
        generated: pictures of a generator.
        bf16: whether it computes in bfloat16.
    """

    def __init__(
        self,
        model: SceneDetector,
        autoencoder: AutoencoderKL,
        generated: Sequence[GeneratedScene] = (),
        bf16: bool = True,
    ):
        self.networks, self.autoencoder, self.bf16 = model, autoencoder, bf16
        self.generated, self.unseen = generated[UNSEEN:], generated[:UNSEEN]
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-3)
        rng = np.random.default_rng(HELD_OUT_SEED)
        images, self.real = scenes.draw_batch(rng, HELD_OUT)
        self.spoiled = [negatives.spoil(rng, drawn) for drawn in self.real]
        self.x_real = images_to_tensor(images)
        self.x_spoiled = images_to_tensor(np.stack([drawn.image for drawn in self.spoiled]))
        self.x_rebuilt = through(autoencoder, self.x_real, bf16=bf16)
        if self.unseen:
            self.x_unseen = images_to_tensor(np.stack([picture.image for picture in self.unseen]))

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        count = round(loop.settings.batch_size * GENERATED_SHARE) if self.generated else 0
        drawn = [training_scene(loop.rng) for _ in range(loop.settings.batch_size - count)]
        generated = [moved(loop.rng, self.generated[int(loop.rng.integers(len(self.generated)))]) for _ in range(count)]
        shown: list[DrawnScene | GeneratedScene] = [*drawn, *generated]
        x = images_to_tensor(np.stack([picture.image for picture in shown]))
        if loop.progress.step % REBUILT_EVERY == 0:
            noise = LATENT_NOISE * float(torch.rand((), generator=loop.generator))
            rebuilt = slice(0, len(drawn), 2)
            x[rebuilt] = through(self.autoencoder, x[rebuilt], noise, loop.generator, self.bf16)
        x[: len(drawn)] = degrade(x[: len(drawn)], loop.generator)
        wanted = targets(shown)
        with loop.autocast():
            heat, box, background = self.networks(x)
        error = (wanted.centre * (box.float() - wanted.box).abs()).sum() / wanted.centre.sum().clamp_min(1)
        loss = (
            focal_loss(heat.float(), wanted.heat, wanted.counted)
            + error
            + F.cross_entropy(background.float(), wanted.background)
        )
        return loss, {"loss": loss}

    def evaluate(self, loop: Loop) -> Figures:
        judge = DetectorVerifier(self.networks)
        figures = {
            "real": exact_match(judge, self.x_real, self.real),
            "rebuilt": exact_match(judge, self.x_rebuilt, self.real),
            "spoiled": exact_match(judge, self.x_spoiled, self.spoiled),
        }
        if self.unseen:
            figures["generated"] = agreement(judge, self.x_unseen, self.unseen)
        self.networks.train().requires_grad_(True)  # a verifier sets both
        return figures


def train(
    output: Path,
    autoencoder: AutoencoderKL,
    total_images: int,
    seed: int,
    generated: Sequence[GeneratedScene] = (),
    bf16: bool = True,
) -> SceneDetector:
    """Train, or go on training; the model is left in the folder as well.

    Args:
        output: folder of the run.
        autoencoder: that some pictures go through.
        total_images: where the run ends.
        seed: of the run.
        generated: pictures of a generator, of which the first `UNSEEN` are held out.
        bf16: whether it computes in bfloat16.

    Raises:
        WrongRunError: where the folder holds another run.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
    """
    with initial_weights(seed):
        model = SceneDetector()
    settings = LoopSettings(
        total_images,
        BATCH,
        seed,
        schedule,
        bf16=bf16,
        cpu=True,
        log_every=LOG_EVERY,
        evaluate_every=EVALUATE_EVERY,
        about={"recipe": "detector", "generated": len(generated)},
    )
    loop = Loop(output, DetectionTask(model.train(), autoencoder, generated, bf16), settings)
    loop.run()
    model.eval().save_pretrained(output / "emoji-detector")
    return model


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=160_000, needs_autoencoder=False)
    parser.add_argument("--generator", type=Path, required=True, help="folder of an emoji-sd3, with its autoencoder")
    parser.add_argument("--generated", type=int, default=3000, help="pictures that it draws; 0.7 s each on one core")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bf16 = not arguments.float32
    pipeline = StableDiffusion3Pipeline.from_pretrained(
        arguments.generator, text_encoder_3=None, tokenizer_3=None, dtype=torch.float32
    )
    folder = arguments.output / "generated"
    generated = generate_scenes(pipeline, arguments.generated, GENERATED_SEED, folder, bf16=bf16)
    corrections = read_corrections(hash_weights(pipeline.transformer), GENERATED_SEED)
    print(f"{len(corrections)} labels are an eye's", flush=True)
    generated = corrected(generated, corrections)
    train(arguments.output, pipeline.vae, arguments.images, arguments.seed, generated, bf16)


if __name__ == "__main__":
    run_recipe(main)
