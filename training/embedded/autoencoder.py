"""emoji-sd3's autoencoder: `python -m samplesmith.training.embedded.autoencoder --output runs/autoencoder`.

An `AutoencoderKL` (f = 8, 8 latent channels), trained on 64-px crops of scenes and, in the last fifth, on whole scenes.
Loss: charbonnier L1 + L1 of the image gradients + 5 MSE (thin spokes weigh more) + 1e-4 KL.
Norms have 4 groups: with one channel per group, normalising erases hue.
Needs: `pip install samplesmith[train]`. About 65 crops/s on two cores with AVX-512 bf16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from ... import scenes
from ..loop import Figures, Loop
from ..loop_settings import LoopSettings
from ..randomness import initial_weights
from ..schedules import Progress, linear_decay, warm_up
from .command_line import recipe_parser, run_recipe
from .pixels import images_to_tensor, save_sheet, tensor_to_images

CROP = 64
BATCH = 16
PEAK_LEARNING_RATE, LEAST_LEARNING_RATE, WARM_UP_IMAGES = 1.5e-3, 2e-6, 1600
WHOLE_FROM = 0.8
"""Share of the run from which on whole scenes are shown."""
EMA_DECAY = 0.998
LOG_EVERY, EVALUATE_EVERY = 100, 1000
HELD_OUT_SEED, HELD_OUT = 999, 96
THIN = ("bicycle", "umbrella", "butterfly", "robot")
THIN_AFTER, THIN_SHARE = 80_000, 0.35
"""After that many crops, that share of the scenes shows nothing but thin objects, which are the last to be learned."""


def build_autoencoder() -> AutoencoderKL:
    """3.0 M parameters; 128 px to latents (8, 16, 16)."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 96, 128),
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=4,
        sample_size=scenes.IMAGE_SIZE,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )


def thin_scene(rng: np.random.Generator) -> scenes.Scene:
    """1 to 6 of one thin object."""
    while True:
        name, background = (
            THIN[rng.integers(len(THIN))],
            list(scenes.BACKGROUNDS)[rng.integers(len(scenes.BACKGROUNDS))],
        )
        scene = scenes.Scene((scenes.Group(int(rng.integers(1, 7)), name),), background)
        if not scenes.is_held_out(scene):
            return scene


def draw_scenes(rng: np.random.Generator, count: int, thin_share: float) -> np.ndarray:
    """Pictures (count, 128, 128, 3), uint8, of scenes that training may show."""
    drawn = [
        thin_scene(rng) if rng.random() < thin_share else scenes.sample_scene(rng, held_out=False) for _ in range(count)
    ]
    return np.stack([scenes.draw(rng, scene).image for scene in drawn])


class CropStream:
    """64-px crops of random scenes; two in three are the most contrasted of 2 or 3 tries, so that sprites fill them.

    Scenes are drawn for several batches at once: what is left of them is part of a checkpoint.
    """

    POOL, REUSE = 48, 6

    def __init__(self) -> None:
        self.pool, self.used = np.empty((0, scenes.IMAGE_SIZE, scenes.IMAGE_SIZE, 3), np.uint8), self.REUSE

    def draw(self, rng: np.random.Generator, count: int, thin_share: float) -> np.ndarray:
        """Crops (count, 64, 64, 3) of uint8.

        Args:
            rng: of the scenes and the crops.
            count: of crops.
            thin_share: of new scenes that show nothing but thin objects.
        """
        if self.used == self.REUSE:
            self.pool, self.used = draw_scenes(rng, self.POOL, thin_share), 0
        self.used += 1
        return np.stack([self._crop(rng, tries=1 + k % 3) for k in range(count)])

    def state_dict(self) -> dict[str, Any]:
        return {"pool": torch.from_numpy(self.pool), "used": self.used}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pool, self.used = state["pool"].numpy(), state["used"]

    def _crop(self, rng: np.random.Generator, tries: int) -> np.ndarray:
        image = self.pool[rng.integers(self.POOL)]
        corners = rng.integers(0, scenes.IMAGE_SIZE - CROP + 1, (tries, 2))
        crops = [image[y : y + CROP, x : x + CROP] for y, x in corners]
        return max(crops, key=lambda crop: float(crop[::4, ::4].astype(np.float32).std()))


def reconstruction_loss(x: Tensor, y: Tensor) -> Tensor:
    """Of pictures x and reconstructions y, (batch, 3, height, width) in [-1, 1]."""
    error = y - x
    across, down = error.diff(dim=-1), error.diff(dim=-2)
    return (error.square() + 1e-6).sqrt().mean() + across.abs().mean() + down.abs().mean() + 5 * error.square().mean()


@torch.no_grad()
def reconstruct(
    autoencoder: AutoencoderKL,
    x: Tensor,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    batch_size: int = 32,
) -> Tensor:
    """Encode (the mode) and decode images in [-1, 1], with Gaussian noise of `noise` standard deviations between."""
    parts = []
    for part in x.split(batch_size):
        z = autoencoder.encode(part).latent_dist.mode()
        if noise:
            z = z + noise / autoencoder.config.scaling_factor * torch.randn(z.shape, generator=generator)
        parts.append(autoencoder.decode(z).sample)
    return torch.cat(parts).float().clamp(-1, 1)


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of each image, both in [-1, 1]."""
    return -10 * torch.log10(((x - y) / 2).square().mean((1, 2, 3)))


def psnr_by_object(autoencoder: AutoencoderKL, per_object: int = 12, seed: int = HELD_OUT_SEED) -> dict[str, float]:
    """Mean PSNR of scenes that show one kind of object only, 1 to 6 of it."""
    rng = np.random.default_rng(seed)
    means = {}
    for name in scenes.OBJECTS:
        shown = [
            scenes.Scene((scenes.Group(1 + k % 6, name),), list(scenes.BACKGROUNDS)[(k // 2) % 6])
            for k in range(per_object)
        ]
        x = images_to_tensor(np.stack([scenes.draw(rng, scene).image for scene in shown]))
        means[name] = float(psnr(x, reconstruct(autoencoder, x)).mean())
    return means


@torch.no_grad()
def set_latent_scale(autoencoder: AutoencoderKL, count: int = 512) -> None:
    """One global shift and scale into the config, so that latents have mean 0 and deviation 1."""
    x = images_to_tensor(scenes.draw_batch(np.random.default_rng(7), count, held_out=False)[0])
    z = torch.cat([autoencoder.encode(part).latent_dist.mode() for part in x.split(64)])
    autoencoder.register_to_config(shift_factor=float(z.mean()), scaling_factor=float(1 / z.std()))


def schedule(progress: Progress) -> float:
    """A warm-up, and over the last three quarters a decay that slows down towards the end."""
    decay = linear_decay(progress, 0.75) ** 1.5
    return warm_up(progress, WARM_UP_IMAGES) * decay + LEAST_LEARNING_RATE / PEAK_LEARNING_RATE


class ReconstructionTask:
    """The errors of crops, later of whole scenes, through the autoencoder.

    Args:
        model: with its first weights.
        output: folder of a picture with originals and reconstructions.
    """

    def __init__(self, model: AutoencoderKL, output: Path):
        self.networks, self.output = model, output
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-4, betas=(0.9, 0.99)
        )
        self.crops = CropStream()
        self.held_out = images_to_tensor(scenes.draw_batch(np.random.default_rng(HELD_OUT_SEED), HELD_OUT)[0])

    def loss(self, loop: Loop) -> tuple[Tensor, Figures]:
        x = self.draw(loop)
        with loop.autocast():
            posterior = self.networks.encode(x).latent_dist
            y = self.networks.decode(posterior.sample(loop.generator)).sample
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = reconstruction_loss(x, y.float()) + 1e-4 * kl
        return loss, {"loss": loss, "kl": kl}

    def draw(self, loop: Loop) -> Tensor:
        """Crops in [-1, 1]; from `WHOLE_FROM` on a quarter as many whole scenes, of which each counts as four."""
        count = loop.settings.batch_size
        thin_share = THIN_SHARE if loop.progress.images >= THIN_AFTER else 0.0
        if loop.progress.share >= WHOLE_FROM:
            return images_to_tensor(draw_scenes(loop.rng, count // 4, thin_share))
        return images_to_tensor(self.crops.draw(loop.rng, count, thin_share))

    def evaluate(self, loop: Loop) -> Figures:
        y = reconstruct(loop.average, self.held_out)
        decibels = psnr(self.held_out, y)
        save_side_by_side(self.held_out[:16], y[:16], self.output / "side_by_side.png")
        return {"psnr": decibels.mean(), "worst": decibels.min()}


def train(output: Path, total_images: int, seed: int, bf16: bool = True) -> AutoencoderKL:
    """Train, or go on training, until `total_images` crops were seen; a whole scene counts as four.

    Returns:
        the averaged weights, left in the folder `vae` as well.

    Raises:
        WrongRunError: where the folder holds another run.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
    """
    with initial_weights(seed):
        task = ReconstructionTask(build_autoencoder(), output)
    settings = LoopSettings(
        total_images,
        BATCH,
        seed,
        schedule,
        average_decay=lambda update: EMA_DECAY if update > 1 else 0.0,  # the first weights are no part of it
        gradient_norm=1.0,
        bf16=bf16,
        cpu=True,
        log_every=LOG_EVERY,
        evaluate_every=EVALUATE_EVERY,
        about={"recipe": "autoencoder"},
    )
    loop = Loop(output, task, settings, state={"crops": task.crops})
    loop.run()
    set_latent_scale(loop.average)
    loop.average.save_pretrained(output / "vae")
    loop.log(psnr_by_object={name: round(value, 2) for name, value in psnr_by_object(loop.average).items()})
    return loop.average


def save_side_by_side(x: Tensor, y: Tensor, file: Path, columns: int = 8) -> None:
    """Rows of originals (batch, 3, height, width) in [-1, 1], each above the row of its reconstructions."""
    pairs = zip(x.split(columns), y.split(columns), strict=True)
    save_sheet(tensor_to_images(torch.cat([part for pair in pairs for part in pair])), file, columns)


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=140_000, needs_autoencoder=False)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.output, arguments.images, arguments.seed, bf16=not arguments.float32)


if __name__ == "__main__":
    run_recipe(main)
