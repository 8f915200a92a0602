"""emoji-sd: `python -m samplesmith.training.embedded.diffusion --output runs/diffusion --start FOLDER`.

A `UNet2DConditionModel` and its text encoder, trained jointly to predict the noise (Ho et al., arXiv 2006.11239, eq.
14) on the latents of emoji-sd3's autoencoder, with Stable Diffusion's `scaled_linear` noise levels; a tenth of the
captions is dropped for guidance. The loss is weighted by min(SNR, 5) / SNR (Hang et al., arXiv 2303.09556, eq. 5).
- The text encoder begins as emoji-sd3's (`--start`), so that only the UNet starts from nothing; with an emoji-sd to
  start from, the UNet goes on as well.
- Attention and most channels are at 8 x 8: a level of 96 channels with attention at 16 x 16 trained at half the speed.
69 images/s on one core with AMX, 45 with AVX-512 bf16 (95 and fewer by torch.compile).
Needs: `pip install samplesmith[train]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from ...pipelines.loading import load
from ...verifiers.identity import hash_weights
from ..loop import Loop
from ..randomness import initial_weights
from .command_line import recipe_parser, run_recipe
from .denoisers import snr_weights, without_flash_attention
from .generator import Generator, train_generator
from .latents import Batch, LatentScenes, encode_scenes
from .text import build_text_encoder, build_tokenizer

PEAK_LEARNING_RATE = 7e-4
SHEET_ARGUMENTS = {"num_inference_steps": 28, "guidance_scale": 3.0}


def build_unet(widths: tuple[int, int] = (64, 176), text_width: int = 128) -> UNet2DConditionModel:
    """New weights, 6.9 M, of which the output begins as zero."""
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=8,
        out_channels=8,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=4,  # diffusers reads it as the number of heads
        norm_num_groups=16,
    )
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    return unet


class Diffusion(Generator):
    """The epsilon model."""

    def __init__(self, unet: UNet2DConditionModel, text_encoder: CLIPTextModel):
        super().__init__(unet, text_encoder, unet.config.block_out_channels[-1])
        self.scheduler = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        )
        unet.mid_block.register_forward_hook(self._keep_features)

    def _keep_features(self, block: nn.Module, inputs: Any, output: Tensor) -> None:
        self.features = output.flatten(2).mT

    def epsilon(self, x: Tensor, timesteps: Tensor, ids: Tensor) -> Tensor:
        return self.denoiser(x, timesteps, self.text_encoder(ids).last_hidden_state, return_dict=False)[0]

    def weighted_error(self, batch: Batch, noise: Tensor, timesteps: Tensor) -> Tensor:
        x = self.scheduler.add_noise(batch.x0, noise, timesteps)
        error = (self.epsilon(x, timesteps, batch.ids).float() - noise).square().mean((1, 2, 3))
        return (snr_weights(self.scheduler.alphas_cumprod[timesteps]) * error).mean()

    def error(self, batch: Batch, loop: Loop) -> Tensor:
        timesteps = torch.randint(len(self.scheduler.alphas_cumprod), (len(batch.x0),), generator=loop.generator)
        return self.weighted_error(batch, torch.randn(batch.x0.shape, generator=loop.generator), timesteps)

    def validation_error(self, batch: Batch) -> float:
        noise = torch.randn(batch.x0.shape, generator=torch.Generator().manual_seed(9))
        timesteps = ((torch.arange(len(noise)) + 0.5) / len(noise) * len(self.scheduler.alphas_cumprod)).long()
        return self.weighted_error(batch, noise, timesteps).item()

    def pipeline(self, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer) -> StableDiffusionPipeline:
        return StableDiffusionPipeline(
            vae=autoencoder,
            text_encoder=self.text_encoder,
            tokenizer=tokenizer,
            unet=self.denoiser,
            scheduler=self.scheduler,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def first_weights(
    tokenizer_folder: Path, seed: int, start: DiffusionPipeline | None
) -> tuple[Diffusion, CLIPTokenizer]:
    """The network and its tokenizer, which is written to a folder.

    Args:
        tokenizer_folder: of the tokenizer.
        seed: of all weights that are new.
        start: whose words and text encoder it begins with, and UNet, if it has one; None for new ones.
    """
    with initial_weights(seed):
        if start is None:
            tokenizer = build_tokenizer(tokenizer_folder)
            return Diffusion(build_unet(), build_text_encoder(tokenizer, projected=False)), tokenizer
        start.tokenizer.save_pretrained(tokenizer_folder)
        # emoji-sd3's holds one beneath its projection.
        encoder = getattr(start.text_encoder, "text_model", start.text_encoder)
        unet = start.unet if "unet" in start.components else build_unet()
        return Diffusion(unet, encoder), start.tokenizer


def train(
    output: Path,
    autoencoder: AutoencoderKL,
    total_images: int,
    scene_count: int,
    seed: int,
    start: DiffusionPipeline | None = None,
    bf16: bool = True,
) -> StableDiffusionPipeline:
    """Train, or go on training; the pipeline is left in the folder `pipeline` as well.

    Args:
        output: folder of the run.
        autoencoder: of the latents.
        total_images: where the run ends.
        scene_count: scenes that are encoded once, in hundreds.
        seed: of the run; the scenes have their own.
        start: whose words and text encoder it begins with, and UNet, if it has one; None for new ones.
        bf16: whether it computes in bfloat16.

    Raises:
        WrongRunError: where the folder holds another run.
        FolderError: where it holds another number of encoded scenes.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
    """
    output.mkdir(parents=True, exist_ok=True)
    net, tokenizer = first_weights(output / "tokenizer", seed, start)
    data = LatentScenes.of(encode_scenes(autoencoder, scene_count, seed + 5, output / "latents.pt", bf16), tokenizer)
    about = {"recipe": "diffusion", "start": "new weights" if start is None else hash_weights(net)}
    return train_generator(
        net.train(),
        data,
        autoencoder,
        output,
        total_images,
        seed,
        PEAK_LEARNING_RATE,
        compiled=False,
        sheet_arguments=SHEET_ARGUMENTS,
        about=about,
        bf16=bf16,
    )


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=400_000, needs_autoencoder=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--autoencoder", type=Path, help="left by the autoencoder recipe: OUTPUT/vae")
    source.add_argument(
        "--start", help="emoji-sd3, emoji-sd or a folder: its autoencoder, words, text encoder and UNet"
    )
    parser.add_argument("--scenes", type=int, default=80_000)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    without_flash_attention()
    start = None if arguments.start is None else load(arguments.start)
    autoencoder = AutoencoderKL.from_pretrained(arguments.autoencoder) if start is None else start.vae
    train(
        arguments.output,
        autoencoder.eval().requires_grad_(False),
        arguments.images,
        arguments.scenes,
        arguments.seed,
        start=start,
        bf16=not arguments.float32,
    )


if __name__ == "__main__":
    run_recipe(main)
