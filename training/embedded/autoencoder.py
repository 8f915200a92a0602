"""emoji-sd3's autoencoder: `python -m samplesmith.training.embedded.autoencoder --output runs/autoencoder`.

An `AutoencoderKL` (f = 8, 8 latent channels), trained on 64-px crops of scenes and, in the last fifth, on whole scenes.
Loss: charbonnier L1 + L1 of the image gradients + 5 MSE (thin spokes weigh more) + 1e-4 KL.
Norms have 4 groups: with one channel a group, normalising erases hue.
Needs: `pip install samplesmith[train]`. About 65 crops/s on two cores with AVX-512 bf16.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ... import scenes
from .run import Run, images_to_tensor, initial_weights, recipe_parser, set_learning_rate, tensor_to_images

CROP = 64
BATCH = 16
PEAK_LEARNING_RATE = 1.5e-3
LOG_EVERY, EVALUATE_EVERY = 100, 1000
HELD_OUT_SEED = 999
THIN = ("bicycle", "umbrella", "butterfly", "robot")
THIN_AFTER, THIN_SHARE = 80_000, 0.35
"""After that many crops, that share of the scenes shows nothing but thin objects, which are the last to be learned."""


def build_autoencoder() -> AutoencoderKL:
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
    while True:
        name, background = (
            THIN[rng.integers(len(THIN))],
            list(scenes.BACKGROUNDS)[rng.integers(len(scenes.BACKGROUNDS))],
        )
        scene = scenes.Scene((scenes.Group(int(rng.integers(1, 7)), name),), background)
        if not scenes.is_held_out(scene):
            return scene


def draw_scenes(rng: np.random.Generator, count: int, thin_share: float) -> np.ndarray:
    asked = [
        thin_scene(rng) if rng.random() < thin_share else scenes.sample_scene(rng, held_out=False) for _ in range(count)
    ]
    return np.stack([scenes.draw(rng, scene).image for scene in asked])


class CropStream:
    """64-px crops of random scenes; two in three are the most contrasted of 2 or 3 tries, so that sprites fill them."""

    POOL, REUSE = 48, 6

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.used = self.REUSE

    def __call__(self, count: int, thin_share: float) -> np.ndarray:
        if self.used == self.REUSE:
            self.pool, self.used = draw_scenes(self.rng, self.POOL, thin_share), 0
        self.used += 1
        return np.stack([self._crop(tries=1 + k % 3) for k in range(count)])

    def _crop(self, tries: int) -> np.ndarray:
        image = self.pool[self.rng.integers(self.POOL)]
        corners = self.rng.integers(0, scenes.IMAGE_SIZE - CROP + 1, (tries, 2))
        crops = [image[y : y + CROP, x : x + CROP] for y, x in corners]
        return max(crops, key=lambda crop: float(crop[::4, ::4].astype(np.float32).std()))


def reconstruction_loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    error = y - x
    across, down = error.diff(dim=-1), error.diff(dim=-2)
    return (error.square() + 1e-6).sqrt().mean() + across.abs().mean() + down.abs().mean() + 5 * error.square().mean()


@torch.no_grad()
def reconstruct(
    autoencoder: AutoencoderKL,
    x: torch.Tensor,
    noise: float = 0.0,
    generator: torch.Generator | None = None,
    batch_size: int = 32,
) -> torch.Tensor:
    """Encode (the mode) and decode images in [-1, 1], with Gaussian noise of `noise` standard deviations between."""
    parts = []
    for part in x.split(batch_size):
        z = autoencoder.encode(part).latent_dist.mode()
        if noise:
            z = z + noise / autoencoder.config.scaling_factor * torch.randn(z.shape, generator=generator)
        parts.append(autoencoder.decode(z).sample)
    return torch.cat(parts).float().clamp(-1, 1)


def psnr(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of each image, both in [-1, 1]."""
    return -10 * torch.log10(((x - y) / 2).square().mean((1, 2, 3)))


def psnr_by_object(autoencoder: AutoencoderKL, per_object: int = 12, seed: int = HELD_OUT_SEED) -> dict[str, float]:
    """Mean PSNR of scenes that show one kind of object only, 1 to 6 of it."""
    rng = np.random.default_rng(seed)
    means = {}
    for name in scenes.OBJECTS:
        asked = [
            scenes.Scene((scenes.Group(1 + k % 6, name),), list(scenes.BACKGROUNDS)[(k // 2) % 6])
            for k in range(per_object)
        ]
        x = images_to_tensor(np.stack([scenes.draw(rng, scene).image for scene in asked]))
        means[name] = float(psnr(x, reconstruct(autoencoder, x)).mean())
    return means


@torch.no_grad()
def set_latent_scale(autoencoder: AutoencoderKL, count: int = 512) -> None:
    """One global shift and scale into the config, so that latents have mean 0 and deviation 1."""
    x = images_to_tensor(scenes.draw_batch(np.random.default_rng(7), count, held_out=False)[0])
    z = torch.cat([autoencoder.encode(part).latent_dist.mode() for part in x.split(64)])
    autoencoder.register_to_config(shift_factor=float(z.mean()), scaling_factor=float(1 / z.std()))


def train(output: Path, total_images: int, seed: int) -> AutoencoderKL:
    """Train, or go on training, until `total_images` crops were seen; a whole scene counts as four."""
    with initial_weights(seed):
        model = build_autoencoder()
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.998))
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_LEARNING_RATE, weight_decay=1e-4, betas=(0.9, 0.99))
    run = Run(output, seed, total_images, {"model": model, "average": average, "optimizer": optimizer})
    crops = CropStream(run.rng)
    held_out = images_to_tensor(scenes.draw_batch(np.random.default_rng(HELD_OUT_SEED), 96)[0])

    while run.progress < 1:
        decay = (1 - max(0.0, run.progress - 0.25) / 0.75) ** 1.5
        set_learning_rate(optimizer, PEAK_LEARNING_RATE * min(1, (run.step + 1) / 100) * decay + 2e-6)
        whole = run.progress >= 0.8
        thin_share = THIN_SHARE if run.images >= THIN_AFTER else 0.0
        images = draw_scenes(run.rng, BATCH // 4, thin_share) if whole else crops(BATCH, thin_share)
        x = images_to_tensor(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            posterior = model.encode(x).latent_dist
            y = model.decode(posterior.sample(run.generator)).sample
        mean, log_variance = posterior.mean.float(), posterior.logvar.float()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = reconstruction_loss(x, y.float()) + 1e-4 * kl
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        run.advance(BATCH)

        if run.step % LOG_EVERY == 0:
            run.log(loss=loss.item(), kl=kl.item())
        if run.step % EVALUATE_EVERY == 0 or run.progress == 1:
            y = reconstruct(average.module.eval(), held_out)
            decibels = psnr(held_out, y)
            run.log(psnr=decibels.mean().item(), worst=decibels.min().item())
            side_by_side(held_out[:16], y[:16], output / "side_by_side.png")
            run.save()

    set_latent_scale(average.module)
    average.module.save_pretrained(output / "vae")
    run.log(**{"psnr_by_object": {name: round(value, 2) for name, value in psnr_by_object(average.module).items()}})
    return average.module


def side_by_side(x: torch.Tensor, y: torch.Tensor, file: Path, columns: int = 8) -> None:
    """Rows of originals, each above the row of its reconstructions."""
    rows = []
    for start in range(0, len(x), columns):
        for part in (x, y):
            rows.append(np.concatenate(list(tensor_to_images(part[start : start + columns])), axis=1))
    Image.fromarray(np.concatenate(rows)).save(file)


def main() -> None:
    parser = recipe_parser(__doc__, images=140_000, needs_autoencoder=False)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train(arguments.output, arguments.images, arguments.seed)


if __name__ == "__main__":
    main()
