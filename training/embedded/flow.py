"""emoji-sd3: `python -m samplesmith.training.embedded.flow --output runs/flow --autoencoder FOLDER`.

An `SD3Transformer2DModel` and its text encoder, trained jointly by rectified flow on cached latents.
- x_t = (1 - sigma) x0 + sigma noise, target velocity noise - x0 (Liu et al., arXiv 2209.03003, eq. 1), sigma
  logit-normal (Esser et al., arXiv 2403.03206, section 3.1); a tenth of the captions is dropped for guidance.
- A head on the image tokens of a middle block finds the sprites (its weights are dropped afterwards): supervision of
  the representation, as REPA (Yu et al., arXiv 2410.06940) has it, by the known layout instead of a teacher.
- The pipeline appends `max_sequence_length` zero tokens in place of a T5 encoder. They have no position, so n of them
  act as one with an attention bias of log n. Training uses mostly one, sometimes 16, and 256 (the pipeline's default)
  in a few late steps: all three calls work, and the shipped call default of 1 is the fastest.
Needs: `pip install samplesmith[train]`. 70 to 85 images/s on two cores with AVX-512 bf16 and `--compile`.
"""

from __future__ import annotations

import copy
import zlib
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline
from PIL import Image
from torch import nn

from ... import scenes
from .clip import patch_maps
from .detector import focal_loss
from .run import Run, images_to_tensor, initial_weights, recipe_parser, save_pipeline, set_learning_rate
from .text import build_text_encoder, build_tokenizer, token_ids

BATCH = 64
PEAK_LEARNING_RATE, DECAY_SHARE = 7e-4, 0.4
CAPTION_DROPOUT = 0.1
EMA_DECAY = 0.9995
FIND_WEIGHT, FIND_BLOCK = 0.05, 2
LOG_EVERY, EVALUATE_EVERY, SHEET_EVERY = 50, 250, 1000
SHEET = (
    "a cat on pink", "a bicycle on gray", "two dogs on green", "two houses on white", "three cats on blue",
    "four robots on yellow", "five fish on pink", "six hearts on white", "a cat and a dog on yellow",
    "a robot and a heart on gray", "a car left of a tree on yellow", "an umbrella left of a boat on green",
    "a star above a house on blue", "two cats and three stars on blue", "a frog and a ball and a house on pink",
    "two pandas left of a tree on yellow",
)  # fmt: skip


def build_transformer(width: int = 256, layers: int = 6) -> SD3Transformer2DModel:
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


@torch.no_grad()
def encode_scenes(autoencoder: AutoencoderKL, count: int, seed: int, cache: Path) -> dict[str, torch.Tensor]:
    """Latents (count, 8, 16, 16) in float16, patch maps (count, 64, 24) as uint8, captions; encoded once and cached."""
    if cache.exists():
        return torch.load(cache, weights_only=True)
    rng = np.random.default_rng(seed)
    latents, maps, captions = [], [], []
    shift, scale = autoencoder.config.shift_factor, autoencoder.config.scaling_factor
    for start in range(0, count, 100):
        images, drawn = scenes.draw_batch(rng, 100)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            z = autoencoder.encode(images_to_tensor(images)).latent_dist.mode()
        latents.append(((z.float() - shift) * scale).half())
        maps.append(patch_maps(list(drawn)).to(torch.uint8))
        captions += [one.scene.caption for one in drawn]
        if start % 10_000 == 0:
            print(f"encoded {start} of {count} scenes", flush=True)
    data = {"latents": torch.cat(latents), "maps": torch.cat(maps), "captions": captions}
    torch.save(data, cache)
    return data


def is_validation(caption: str) -> bool:
    """Scenes with a combination that training never shows, and a twentieth of the longer captions."""
    scene = scenes.parse(caption)
    return scenes.is_held_out(scene) or (len(scene.groups) > 1 and zlib.crc32(caption.encode()) % 20 == 0)


class Flow(nn.Module):
    """Transformer, text encoder and the finding head: what is trained."""

    def __init__(self, transformer: SD3Transformer2DModel, text_encoder: nn.Module):
        super().__init__()
        self.transformer, self.text_encoder = transformer, text_encoder
        self.finder = nn.Linear(transformer.inner_dim, len(scenes.OBJECTS))
        nn.init.constant_(self.finder.bias, -4.0)
        self.tokens: torch.Tensor | None = None
        transformer.transformer_blocks[FIND_BLOCK].register_forward_hook(self._keep_tokens)

    def _keep_tokens(self, block, inputs, outputs) -> None:
        self.tokens = outputs[1]

    def embed(self, ids: torch.Tensor, zero_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        """What `StableDiffusion3Pipeline.encode_prompt` makes of ids, with one encoder in both places and no T5."""
        out = self.text_encoder(ids, output_hidden_states=True)
        hidden = torch.cat([out.hidden_states[-2]] * 2, -1)
        zeros = hidden.new_zeros(len(ids), zero_tokens, hidden.shape[-1])
        return torch.cat([hidden, zeros], 1), torch.cat([out.text_embeds] * 2, -1)

    def velocity(self, x, sigma, ids, zero_tokens: int = 1, denoiser=None) -> torch.Tensor:
        hidden, pooled = self.embed(ids, zero_tokens)
        return (self.transformer if denoiser is None else denoiser)(
            hidden_states=x,
            encoder_hidden_states=hidden,
            pooled_projections=pooled,
            timestep=sigma.flatten() * 1000,
            return_dict=False,
        )[0]


def interpolate(x0: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x_t and its velocity (arXiv 2209.03003, eq. 1)."""
    return (1 - sigma) * x0 + sigma * noise, noise - x0


def choose_zero_tokens(progress: float, chance: float) -> int:
    if progress > 0.6 and chance < 0.03:
        return 256
    return 16 if chance > 0.9 else 1


def build_pipeline(flow: Flow, autoencoder: AutoencoderKL, tokenizer) -> StableDiffusion3Pipeline:
    encoder = flow.text_encoder
    return StableDiffusion3Pipeline(
        transformer=flow.transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
        vae=autoencoder,
        text_encoder=encoder,
        tokenizer=tokenizer,
        text_encoder_2=encoder,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def save_sheet(pipeline: StableDiffusion3Pipeline, file: Path, columns: int = 8) -> None:
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        list(SHEET),
        num_inference_steps=28,
        guidance_scale=3.0,
        max_sequence_length=1,
        height=128,
        width=128,
        generator=[torch.Generator().manual_seed(i) for i in range(len(SHEET))],
        output_type="np",
    ).images
    pixels = (images * 255).round().astype(np.uint8)
    rows = [np.concatenate(list(pixels[i : i + columns]), 1) for i in range(0, len(pixels), columns)]
    Image.fromarray(np.concatenate(rows)).save(file)


def train(
    output: Path, autoencoder: AutoencoderKL, total_images: int, scene_count: int, seed: int, compiled: bool
) -> StableDiffusion3Pipeline:
    output.mkdir(parents=True, exist_ok=True)
    data = encode_scenes(autoencoder, scene_count, seed + 5, output / "latents.pt")
    validation = torch.tensor([is_validation(caption) for caption in data["captions"]])
    tokenizer = build_tokenizer(output / "tokenizer")
    ids, nothing = token_ids(tokenizer, data["captions"]), token_ids(tokenizer, [""])
    latents, maps = data["latents"][~validation], data["maps"][~validation]
    x0_validation, ids_validation = data["latents"][validation][:256].float(), ids[validation][:256]
    ids = ids[~validation]

    with initial_weights(seed):
        flow = Flow(build_transformer(), build_text_encoder(tokenizer))
    average = copy.deepcopy(flow).requires_grad_(False).eval()
    parameters, averaged = list(flow.parameters()), list(average.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=PEAK_LEARNING_RATE, weight_decay=0.01, betas=(0.9, 0.98), fused=True)
    run = Run(output, seed, total_images, {"flow": flow, "average": average, "optimizer": optimizer})
    fast = torch.compile(flow.transformer) if compiled else None
    pipeline = build_pipeline(average, autoencoder, tokenizer)
    fixed = torch.Generator().manual_seed(9)
    noise_validation = torch.randn(x0_validation.shape, generator=fixed)
    sigma_validation = ((torch.arange(len(x0_validation)) + 0.5) / len(x0_validation)).view(-1, 1, 1, 1)

    while run.progress < 1:
        decay = min(1, (1 - run.progress) / DECAY_SHARE + 1e-3)
        set_learning_rate(optimizer, PEAK_LEARNING_RATE * min(1, (run.step + 1) / 300) * decay)
        rows = torch.randint(len(latents), (BATCH,), generator=run.generator)
        x0 = latents[rows].float()
        dropped = torch.rand(BATCH, 1, generator=run.generator) < CAPTION_DROPOUT
        batch_ids = torch.where(dropped, nothing, ids[rows])
        sigma = torch.sigmoid(torch.randn(BATCH, generator=run.generator)).view(-1, 1, 1, 1)
        zero_tokens = choose_zero_tokens(run.progress, float(torch.rand((), generator=run.generator)))
        x, velocity = interpolate(x0, torch.randn(x0.shape, generator=run.generator), sigma)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predicted = flow.velocity(x, sigma, batch_ids, zero_tokens, fast if zero_tokens == 1 else None)
            found = flow.finder(flow.tokens)
        error = (predicted.float() - velocity).square().mean()
        find = focal_loss(found.float(), maps[rows].float())
        loss = error + FIND_WEIGHT * find
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        run.advance(BATCH)
        torch._foreach_lerp_(averaged, parameters, 1 - min(EMA_DECAY, (40 + run.step) / (50 + run.step)))

        if run.step % LOG_EVERY == 0:
            run.log(error=error.item(), find=find.item())
        if run.step % EVALUATE_EVERY == 0 or run.progress == 1:
            x, velocity = interpolate(x0_validation, noise_validation, sigma_validation)
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                predicted = average.velocity(x, sigma_validation, ids_validation)
            run.log(validation=(predicted.float() - velocity).square().mean().item())
            run.save()
        if run.step % SHEET_EVERY == 0:
            save_sheet(pipeline, output / f"sheet_{run.images:07d}.png")
            save_pipeline(pipeline, output / "emoji-sd3")

    save_pipeline(pipeline, output / "emoji-sd3")
    return pipeline


def main() -> None:
    parser = recipe_parser(__doc__, images=700_000)
    parser.add_argument("--scenes", type=int, default=80_000)
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer: +25 %% after a minute")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    # The CPU flash kernel is slow at 80 tokens; these switches rule the CPU too.
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    autoencoder = AutoencoderKL.from_pretrained(arguments.autoencoder).eval().requires_grad_(False)
    train(arguments.output, autoencoder, arguments.images, arguments.scenes, arguments.seed, compiled=arguments.compile)


if __name__ == "__main__":
    main()
