"""emoji-sd3: `python -m samplesmith.training.embedded.flow --output runs/flow --start FOLDER`.

An `SD3Transformer2DModel` and its text encoder, trained jointly by rectified flow on cached latents, from the weights
of an earlier emoji-sd3 (`--start`) or, with `--autoencoder`, from new ones.
- x_t = (1 - sigma) x0 + sigma noise, target velocity noise - x0 (Liu et al., arXiv 2209.03003, eq. 1), sigma
  logit-normal (Esser et al., arXiv 2403.03206, section 3.1); a tenth of the captions is dropped for guidance.
- The pipeline appends `max_sequence_length` zero tokens in place of a T5 encoder. They have no position, so n of them
  act as one with an attention bias of log n. Training uses mostly one, sometimes 16, and 256 (the pipeline's default)
  in a few late steps: all three calls work, and the shipped call default of 1 is the fastest.
Needs: `pip install samplesmith[train]`. About 70 images/s on two cores with `--compile`: in bfloat16 with AMX, or with
`--float32` without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor, nn
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from ...verifiers.identity import hash_weights
from ..loop import Loop
from ..randomness import initial_weights
from .command_line import recipe_parser, run_recipe
from .denoisers import without_flash_attention
from .generator import Generator, train_generator
from .latents import Batch, LatentScenes, encode_scenes
from .text import build_text_encoder, build_tokenizer, extend_tokenizer, extended_embedding

PEAK_LEARNING_RATE, TRAINED_ON_LEARNING_RATE = 7e-4, 5e-4
FIND_BLOCK = 2
SHEET_ARGUMENTS = {"num_inference_steps": 28, "guidance_scale": 3.0, "max_sequence_length": 1}


def build_transformer(width: int = 256, layers: int = 6) -> SD3Transformer2DModel:
    """New weights; blocks begin as the identity and the output as zero."""
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=8,
        out_channels=8,
        num_layers=layers,
        attention_head_dim=64,
        num_attention_heads=width // 64,
        joint_attention_dim=256,
        caption_projection_dim=width,
        pooled_projection_dim=256,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )
    zeroed = [transformer.proj_out] + [
        norm.linear for block in transformer.transformer_blocks for norm in (block.norm1, block.norm1_context)
    ]
    for layer in zeroed:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return transformer


class Flow(Generator):
    """The rectified flow."""

    def __init__(self, transformer: SD3Transformer2DModel, text_encoder: CLIPTextModelWithProjection):
        super().__init__(transformer, text_encoder, transformer.inner_dim)
        transformer.transformer_blocks[FIND_BLOCK].register_forward_hook(self._keep_tokens)

    def _keep_tokens(self, block: nn.Module, inputs: Any, outputs: tuple[Tensor, Tensor]) -> None:
        self.features = outputs[1]

    def embed(self, ids: Tensor, zero_tokens: int) -> tuple[Tensor, Tensor]:
        return embed(self.text_encoder, ids, zero_tokens)

    def velocity(self, x: Tensor, sigma: Tensor, ids: Tensor, zero_tokens: int = 1) -> Tensor:
        hidden, pooled = self.embed(ids, zero_tokens)
        compiled = self.training and zero_tokens == 1  # other lengths are rare: each would be compiled apart
        denoiser = getattr(self, "fast", self.denoiser) if compiled else self.denoiser
        return denoiser(
            hidden_states=x,
            encoder_hidden_states=hidden,
            pooled_projections=pooled,
            timestep=sigma.flatten() * 1000,
            return_dict=False,
        )[0]

    def error(self, batch: Batch, loop: Loop) -> Tensor:
        sigma = torch.sigmoid(torch.randn(len(batch.x0), generator=loop.generator)).view(-1, 1, 1, 1)
        zero_tokens = choose_zero_tokens(loop.progress.share, float(torch.rand((), generator=loop.generator)))
        x, velocity = interpolate(batch.x0, torch.randn(batch.x0.shape, generator=loop.generator), sigma)
        return (self.velocity(x, sigma, batch.ids, zero_tokens).float() - velocity).square().mean()

    def validation_error(self, batch: Batch) -> float:
        noise = torch.randn(batch.x0.shape, generator=torch.Generator().manual_seed(9))
        sigma = ((torch.arange(len(noise)) + 0.5) / len(noise)).view(-1, 1, 1, 1)
        x, velocity = interpolate(batch.x0, noise, sigma)
        return (self.velocity(x, sigma, batch.ids).float() - velocity).square().mean().item()

    def pipeline(self, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer) -> StableDiffusion3Pipeline:
        return StableDiffusion3Pipeline(
            transformer=self.denoiser,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
            vae=autoencoder,
            text_encoder=self.text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=self.text_encoder,
            tokenizer_2=tokenizer,
            text_encoder_3=None,
            tokenizer_3=None,
        )


def embed(text_encoder: CLIPTextModelWithProjection, ids: Tensor, zero_tokens: int = 1) -> tuple[Tensor, Tensor]:
    """What `StableDiffusion3Pipeline.encode_prompt` makes of ids, with one encoder in both places and no T5."""
    out = text_encoder(ids, output_hidden_states=True)
    hidden = torch.cat([out.hidden_states[-2]] * 2, -1)
    zeros = hidden.new_zeros(len(ids), zero_tokens, hidden.shape[-1])
    return torch.cat([hidden, zeros], 1), torch.cat([out.text_embeds] * 2, -1)


def interpolate(x0: Tensor, noise: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """x_t and its velocity (arXiv 2209.03003, eq. 1)."""
    return (1 - sigma) * x0 + sigma * noise, noise - x0


def choose_zero_tokens(share: float, chance: float) -> int:
    """How many zero tokens a batch has, by the share of the run that is done and a number drawn in [0, 1)."""
    if share > 0.6 and chance < 0.03:
        return 256
    return 16 if chance > 0.9 else 1


def first_weights(tokenizer_folder: Path, seed: int, start: Path | None) -> tuple[Flow, CLIPTokenizer]:
    """The network and its tokenizer, which is written to a folder.

    Args:
        tokenizer_folder: of the tokenizer.
        seed: of all weights that are new: also those of the head, and of words that `start` does not know.
        start: folder of a pipeline to go on from; None for new weights.
    """
    with initial_weights(seed):
        if start is None:
            tokenizer = build_tokenizer(tokenizer_folder)
            return Flow(build_transformer(), build_text_encoder(tokenizer)), tokenizer
        old = CLIPTokenizer.from_pretrained(start / "tokenizer")
        tokenizer = extend_tokenizer(start / "tokenizer", tokenizer_folder)
        encoder = build_text_encoder(tokenizer)
        transformer = SD3Transformer2DModel.from_pretrained(start / "transformer", dtype=torch.float32)
        net = Flow(transformer, encoder)
    state = CLIPTextModelWithProjection.from_pretrained(start / "text_encoder", dtype=torch.float32).state_dict()
    name = next(key for key in state if key.endswith("embeddings.token_embedding.weight"))
    state[name] = extended_embedding(state[name], old, tokenizer, torch.Generator().manual_seed(seed))
    encoder.load_state_dict(state)
    return net, tokenizer


def train(
    output: Path,
    autoencoder: AutoencoderKL,
    total_images: int,
    scene_count: int,
    seed: int,
    compiled: bool,
    start: Path | None = None,
    bf16: bool = True,
) -> StableDiffusion3Pipeline:
    """Train, or go on training; the pipeline is left in the folder `pipeline` as well.

    Args:
        output: folder of the run.
        autoencoder: of the latents.
        total_images: where the run ends.
        scene_count: scenes that are encoded once, in hundreds.
        seed: of the run; the scenes have their own.
        compiled: whether the denoiser is compiled.
        start: folder of a pipeline whose weights and words it goes on from; None for new ones.
        bf16: whether it computes in bfloat16.

    Raises:
        WrongRunError: where the folder holds another run.
        FolderError: where it holds another number of encoded scenes.
        NonFiniteError: where the loss or its gradient is NaN or infinite.
    """
    output.mkdir(parents=True, exist_ok=True)
    net, tokenizer = first_weights(output / "tokenizer", seed, start)
    data = LatentScenes.of(encode_scenes(autoencoder, scene_count, seed + 5, output / "latents.pt", bf16), tokenizer)
    rate = PEAK_LEARNING_RATE if start is None else TRAINED_ON_LEARNING_RATE
    about = {"recipe": "flow", "start": "new weights" if start is None else hash_weights(net.denoiser)}
    return train_generator(
        net.train(), data, autoencoder, output, total_images, seed, rate, compiled, SHEET_ARGUMENTS, about, bf16
    )


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=600_000, needs_autoencoder=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--autoencoder", type=Path, help="left by the autoencoder recipe: OUTPUT/vae; for new weights")
    source.add_argument("--start", type=Path, help="folder of an emoji-sd3 to go on from, with its autoencoder")
    parser.add_argument("--scenes", type=int, default=80_000)
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer: +25 %% after a minute")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    without_flash_attention()
    folder = arguments.autoencoder or arguments.start / "vae"
    autoencoder = AutoencoderKL.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False)
    train(
        arguments.output,
        autoencoder,
        arguments.images,
        arguments.scenes,
        arguments.seed,
        compiled=arguments.compile,
        start=arguments.start,
        bf16=not arguments.float32,
    )


if __name__ == "__main__":
    run_recipe(main)
