"""A small random pipeline for each class of diffusers that one can be built for; every weight is seeded.

A file per family holds functions that build pipelines, and its own `TOYS`; all of them are gathered here. A row is
named after its class; another way to call the same class comes behind a comma ("FluxPipeline, true CFG").
"""

from importlib import import_module
from pkgutil import iter_modules

import torch

from .flux import flux
from .parts import (
    PROMPT,
    SMALL,
    Recipe,
    autoencoder,
    clip_text,
    mask,
    picture,
    t5_text,
    tokenizer,
    unet,
    words_tokenizer,
)
from .pixart import dit, pixart
from .stable_diffusion import controlnet, stable_diffusion, stable_diffusion_xl
from .stable_diffusion_3 import stable_diffusion_3

__all__ = [
    "COMMON",
    "PROMPT",
    "SMALL",
    "TOYS",
    "Recipe",
    "autoencoder",
    "build",
    "clip_text",
    "controlnet",
    "dit",
    "flux",
    "mask",
    "picture",
    "pixart",
    "settled",
    "stable_diffusion",
    "stable_diffusion_3",
    "stable_diffusion_xl",
    "t5_text",
    "tokenizer",
    "unet",
    "words_tokenizer",
]

COMMON = {
    "StableDiffusion": "StableDiffusionPipeline",
    "StableDiffusionXL": "StableDiffusionXLPipeline",
    "StableDiffusion3": "StableDiffusion3Pipeline",
    "Flux": "FluxPipeline",
    "Flux true CFG": "FluxPipeline, true CFG",
    "PixArt": "PixArtAlphaPipeline",
    "DiT": "DiTPipeline",
    "ControlNet": "StableDiffusionControlNetPipeline",
    "Img2Img": "StableDiffusionImg2ImgPipeline",
}
"""Short names of the toys that most tests use: one of each way in which pipelines are called."""


class _Toys(dict):
    """By row, or by short name."""

    def __missing__(self, name: str) -> Recipe:
        return self[COMMON[name]]


def _gathered() -> _Toys:
    found = _Toys()
    for module in sorted(module.name for module in iter_modules(__path__)):
        for row, recipe in getattr(import_module(f".{module}", __name__), "TOYS", {}).items():
            assert row not in found, f"two recipes for {row}"
            found[row] = recipe
    return found


TOYS: dict[str, Recipe] = _gathered()
"""Builder, prompt and call arguments of each row."""


SMALLER = {
    "HiDreamImagePipeline": {"default_sample_size": 16},
    "Kandinsky5T2IPipeline": {"resolutions": [(64, 64)]},
}
"""Attributes that a class's constructor sets for large pictures; they are not saved with a pipeline."""


def build(name: str):
    """A toy by its row or short name, its weights drawn from a seed of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipe = TOYS[name].make()
    return settled(pipe)


def settled(pipe):
    """A pipeline, built or loaded, that is quiet and as small as its toy."""
    for attribute, value in SMALLER.get(type(pipe).__name__, {}).items():
        setattr(pipe, attribute, value)
    pipe.set_progress_bar_config(disable=True)
    return pipe
