"""What the emoji generators learn from: scenes through the autoencoder, once and kept, with captions of every form."""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTokenizer

from ... import scenes
from ...scenes import Scene, sample_description, with_digits
from ..checkpoints import FolderError
from ..distillation.examples import Source
from .pixels import images_to_tensor
from .sprite_maps import patch_maps
from .text import token_ids

ENCODED_AT_ONCE = 100
CAPTION_DROPOUT = 0.1
DIGITS_SHARE = 0.25
"""Of the captions that are written with digits."""


class Batch(NamedTuple):
    """Latents (batch, 8, 16, 16), patch maps of the sprites (batch, 64, 24), token ids of the captions."""

    x0: Tensor
    maps: Tensor
    ids: Tensor


@torch.no_grad()
def encode_scenes(autoencoder: AutoencoderKL, count: int, seed: int, cache: Path, bf16: bool = True) -> dict[str, Any]:
    """Random scenes through an autoencoder, once; a rerun reads them from a file.

    Args:
        autoencoder: with its shift and scale in the config.
        count: of scenes, rounded up to hundreds.
        seed: of the scenes.
        cache: the file; written in one move.
        bf16: whether it computes in bfloat16.

    Returns:
        `latents` (count, 8, 16, 16) in float16, `maps` (count, 64, 24) of patches as uint8, and `captions`.

    Raises:
        FolderError: where the file holds another number of scenes.
    """
    if cache.exists():
        data = torch.load(cache, weights_only=True)
        if len(data["captions"]) != (kept := math.ceil(count / ENCODED_AT_ONCE) * ENCODED_AT_ONCE):
            raise FolderError(
                f"{cache} holds {len(data['captions'])} scenes and this run asks for {kept}; ask for as many, remove "
                "the file, or name another folder"
            )
        return data
    rng = np.random.default_rng(seed)
    latents, maps, captions = [], [], []
    shift, scale = autoencoder.config.shift_factor, autoencoder.config.scaling_factor
    for start in range(0, count, ENCODED_AT_ONCE):
        images, drawn = scenes.draw_batch(rng, ENCODED_AT_ONCE)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            z = autoencoder.encode(images_to_tensor(images)).latent_dist.mode()
        latents.append(((z.float() - shift) * scale).half())
        maps.append(patch_maps(list(drawn)).to(torch.uint8))
        captions += [picture.scene.caption for picture in drawn]
        if start % 10_000 == 0:
            print(f"encoded {start} of {count} scenes", flush=True)
    data = {"latents": torch.cat(latents), "maps": torch.cat(maps), "captions": captions}
    part = cache.with_suffix(".part")
    torch.save(data, part)
    os.replace(part, cache)  # whoever is stopped here leaves nothing or all of it
    return data


def is_validation(scene: Scene) -> bool:
    """Scenes with a combination that training never shows, and a twentieth of the longer captions."""
    return scenes.is_held_out(scene) or (len(scene.groups) > 1 and zlib.crc32(scene.caption.encode()) % 20 == 0)


@dataclass
class LatentScenes:
    """Encoded scenes of training, and 256 of validation with their full captions.

    Attributes:
        scenes: what each shows; a caption of it is written anew each time that it is drawn.
        latents: (scenes, 8, 16, 16), float16.
        maps: (scenes, 64, 24), uint8.
        validation: a batch.
    """

    scenes: list[Scene]
    latents: Tensor
    maps: Tensor
    validation: Batch
    tokenizer: CLIPTokenizer

    @classmethod
    def of(cls, data: dict[str, Any], tokenizer: CLIPTokenizer) -> LatentScenes:
        shown = [scenes.parse(caption) for caption in data["captions"]]
        aside = torch.tensor([is_validation(scene) for scene in shown])
        kept = aside.nonzero().flatten().tolist()[:256]
        validation = Batch(
            data["latents"][kept].float(), data["maps"][kept], token_ids(tokenizer, [shown[i].caption for i in kept])
        )
        training = [scene for scene, held in zip(shown, aside.tolist(), strict=True) if not held]
        return cls(training, data["latents"][~aside], data["maps"][~aside], validation, tokenizer)

    def draw(self, source: Source, count: int, dropout: float = CAPTION_DROPOUT) -> Batch:
        """A random batch; a share of the captions is empty, for guidance."""
        rows = torch.randint(len(self.scenes), (count,), generator=source.generator)
        captions = []
        for row in rows.tolist():
            caption = sample_description(source.rng, self.scenes[row]).caption
            if source.rng.random() < DIGITS_SHARE:
                caption = with_digits(caption)
            captions.append("" if source.rng.random() < dropout else caption)
        return Batch(self.latents[rows].float(), self.maps[rows], token_ids(self.tokenizer, captions))
