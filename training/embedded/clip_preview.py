"""emoji-clip-preview, for early scores: `python -m samplesmith.training.embedded.clip_preview --output runs/preview`.

A guide that has seen finished pictures only says little of a clean prediction x0-hat, which is blurred and mixes
layouts. This one starts from emoji-clip's weights and goes on with its recipe; now half of the pictures, right and
nearly right alike, are noised to a random sigma and shown as the clean prediction that emoji-sd3 makes of them by the
caption, guided as its call defaults say. So it learns which faults of a preview the later steps will mend. TTSnap
(arXiv 2511.22242) trains noise-aware rewards to the same end. The result is a mean of old and new weights.
Needs: `pip install samplesmith[train]`. About 26 scenes/s on one core, two pictures and five captions each.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from ... import assets
from ...pipelines.decoding import decode
from ...pipelines.loading import load
from ...scenes import DrawnScene
from ..loop import Loop
from .clip import HELD_OUT_SEED, Look, prefers, train
from .command_line import recipe_parser, run_recipe
from .flow import interpolate
from .nearly_right import nearly_right, unique_scenes
from .pixels import images_to_tensor

NAME, START, MODEL = "emoji-clip-preview", "emoji-clip", "emoji-sd3"
PEAK_LEARNING_RATE, SHARE = 3e-4, 0.75
"""SHARE of the trained weights in the result; of the quarters it was best on generated pictures, validation prompts."""
SIGMAS = (0.02, 0.95)
"""Beyond the upper one the clean prediction does not depend on the picture."""
MEASURED_SIGMAS = (0.3, 0.5, 0.7, 0.9)


@torch.no_grad()
def clean_predictions(
    pipe: DiffusionPipeline,
    x: Tensor,
    captions: list[str],
    sigmas: Tensor,
    generator: torch.Generator,
    guidance_scale: float,
    max_sequence_length: int,
) -> Tensor:
    """The clean predictions of a StableDiffusion3Pipeline for noised pictures.

    Args:
        pipe: whose `timesteps` are 1000 sigma.
        x: pictures (batch, 3, height, width) in [-1, 1].
        captions: one per picture; may be untrue of it.
        sigmas: noise levels (batch,) in [0, 1].
        generator: of the noise.
        guidance_scale, max_sequence_length: as in the pipeline's call.

    Returns:
        (batch, 3, height, width) in [-1, 1].
    """
    config, levels = pipe.vae.config, sigmas.view(-1, 1, 1, 1)
    z = (pipe.vae.encode(x).latent_dist.mode().float() - config.shift_factor) * config.scaling_factor
    noisy, _ = interpolate(z, torch.randn(z.shape, generator=generator), levels)
    given, empty, given_pooled, empty_pooled = pipe.encode_prompt(
        captions, None, None, do_classifier_free_guidance=True, max_sequence_length=max_sequence_length
    )
    velocities = pipe.transformer(
        hidden_states=torch.cat([noisy, noisy]),
        timestep=1000 * torch.cat([sigmas, sigmas]),
        encoder_hidden_states=torch.cat([empty, given]),
        pooled_projections=torch.cat([empty_pooled, given_pooled]),
        return_dict=False,
    )[0]
    unconditional, conditional = velocities.float().chunk(2)
    velocity = unconditional + guidance_scale * (conditional - unconditional)
    return 2 * decode(pipe, noisy - levels * velocity) - 1


Predict = Callable[[Tensor, list[str], Tensor, torch.Generator], Tensor]


def predictor(model: str, bf16: bool = True) -> Predict:
    """`clean_predictions` of a shipped pipeline, guided as its call defaults say."""
    pipe, defaults = load(model), assets.call_defaults(model)
    guidance, length = defaults["guidance_scale"], defaults["max_sequence_length"]

    def predict(x: Tensor, captions: list[str], sigmas: Tensor, generator: torch.Generator) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return clean_predictions(pipe, x, captions, sigmas, generator, guidance, length)

    return predict


def as_previews(predict: Predict) -> Look:
    """Half of the pictures are shown as clean predictions at random noise levels."""

    def look(loop: Loop, x: Tensor, captions: list[str]) -> Tensor:
        low, high = SIGMAS
        sigmas = low + (high - low) * torch.rand(len(x[::2]), generator=loop.generator)
        x[::2] = predict(x[::2], captions[::2], sigmas, loop.generator)
        return x

    return look


class PreviewAccuracy:
    """How often the preview of a right picture scores above that of a nearly right one, by noise level."""

    def __init__(self, predict: Predict, scenes: int = 200):
        rng, generator = np.random.default_rng(HELD_OUT_SEED), torch.Generator().manual_seed(HELD_OUT_SEED)
        drawn = unique_scenes(rng, scenes, held_out=None)
        self.captions = [picture.scene.caption for picture in drawn]
        self.right = self._previews(predict, drawn, generator)
        self.wrong = self._previews(predict, [nearly_right(rng, picture) for picture in drawn], generator)

    def _previews(self, predict: Predict, drawn: list[DrawnScene], generator: torch.Generator) -> dict[float, Tensor]:
        x = images_to_tensor(np.stack([picture.image for picture in drawn]))
        return {
            sigma: torch.cat(
                [
                    predict(
                        x[i : i + 50], self.captions[i : i + 50], torch.full((len(x[i : i + 50]),), sigma), generator
                    )
                    for i in range(0, len(x), 50)
                ]
            )
            for sigma in MEASURED_SIGMAS
        }

    @torch.no_grad()
    def __call__(self, model: Any, tokenizer: Any) -> dict[str, dict[float, float]]:
        text = model.encode_text(tokenizer(self.captions), normalize=True)
        shares = {
            sigma: round(prefers(model, text, self.right[sigma], self.wrong[sigma]), 3) for sigma in MEASURED_SIGMAS
        }
        return {"better_preview_at": shares}


def main() -> None:
    """The command line."""
    parser = recipe_parser(__doc__, images=60_000, needs_autoencoder=False)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shutil.rmtree(arguments.output / NAME, ignore_errors=True)
    bf16 = not arguments.float32
    predict = predictor(MODEL, bf16)
    train(
        arguments.output,
        as_previews(predict),
        arguments.images,
        arguments.seed,
        NAME,
        start=assets.path(START),
        peak_learning_rate=PEAK_LEARNING_RATE,
        share=SHARE,
        measures=(PreviewAccuracy(predict),),
        bf16=bf16,
    )


if __name__ == "__main__":
    run_recipe(main)
