"""Pictures of clean predictions for scoring on the way, quicker than the pipeline's own decode.

Strategies that score many nodes pay a decode for each. Two things stand in for it where a node is not finished: a tiny
autoencoder of the same latents (`AutoencoderTiny`, such as TAESD), and a linear fit from latents to pixels, which
`samplesmith calibrate` makes. Finished images are always the pipeline's own. Seam: what a paused row's clean prediction
is shown by. Cost: a decode of the tiny autoencoder, which counts as one; none for the fit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from ..foreign_errors import in_one_sentence
from ..named_settings import resolve
from .decoding import decode, unpacked

FULL = "full"
"""The pipeline's own decode."""

FILE_NAME = "latent_preview.safetensors"
"""Of a linear fit: beside a calibration, and in a model's folder."""


class QuickPreview(ABC):
    """Makes pictures of a pipeline's latents."""

    modules: tuple[nn.Module, ...] = ()
    """Autoencoders whose decodes are counted."""

    @abstractmethod
    def __call__(self, pipe: Any, latents: Tensor, height: int | None = None, width: int | None = None) -> Tensor:
        """Pictures, (batch, 3, height, width) in [0, 1], float32.

        Args:
            pipe: whose latents they are.
            latents: clean predictions, (batch, channels, height, width), or packed, (batch, positions, channels).
            height, width: of the pictures, for packed latents; None for the pipeline's default.

        Raises:
            ValueError: for latents that are no image's, or of other channels than it was made for.
        """


class TinyPreview(QuickPreview):
    """A tiny autoencoder of the same latents.

    Args:
        model: a hub id or a folder of an `AutoencoderTiny`, such as "madebyollin/taesdxl"; or one that is loaded.
    """

    def __init__(self, model: str | nn.Module):
        self.model = _tiny(model) if isinstance(model, str) else model
        self.modules = (self.model,)

    @torch.no_grad()
    def __call__(self, pipe: Any, latents: Tensor, height: int | None = None, width: int | None = None) -> Tensor:
        latents = latents.to(pipe._execution_device)
        return decode(pipe, latents, height, width, vae=self.model.to(latents.device))


def _tiny(model: str) -> nn.Module:
    from diffusers import AutoencoderTiny

    with in_one_sentence(f"the tiny autoencoder {model} cannot be loaded"):
        loaded: nn.Module = AutoencoderTiny.from_pretrained(model)
    return loaded.eval()


class LinearPreview(QuickPreview):
    """A linear fit: each position's patch of pixels, from the latents there and beside it.

    Args:
        weight: (3 patch^2, channels, 3, 3).
        bias: (3 patch^2,).
        explained: share of the pixels' variance that it explained on pictures that it was not fitted to.
    """

    def __init__(self, weight: Tensor, bias: Tensor, explained: float = float("nan")):
        self.weight, self.bias, self.explained = weight, bias, explained
        self.patch = round((len(bias) / 3) ** 0.5)

    @torch.no_grad()
    def __call__(self, pipe: Any, latents: Tensor, height: int | None = None, width: int | None = None) -> Tensor:
        if latents.ndim == 3:
            latents = unpacked(pipe, latents, height, width)
        if latents.ndim != 4 or latents.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"the linear preview was fitted to latents of {self.weight.shape[1]} channels, (batch, channels, "
                f"height, width), and these are {tuple(latents.shape)}; fit one for this pipeline"
            )
        return self.pictures(latents)

    def pictures(self, latents: Tensor) -> Tensor:
        """Pictures of latents, (batch, channels, height, width), in [0, 1]."""
        around = functional.pad(latents.float(), (1, 1, 1, 1), mode="replicate")
        patches = functional.conv2d(around, self.weight.to(latents.device), self.bias.to(latents.device))
        return functional.pixel_shuffle(patches, self.patch).clamp(0, 1)

    @classmethod
    def fit(cls, latents: Tensor, pictures: Tensor) -> LinearPreview:
        """The least squares from latents to pixels; each fourth picture is held out, to say what it explains.

        Args:
            latents: (count, channels, height, width), eight or more.
            pictures: of them, (count, 3, patch height, patch width), in [0, 1].

        Raises:
            ValueError: for fewer pictures, or sizes that are no whole patches.
        """
        patch = pictures.shape[-1] // latents.shape[-1]
        whole = tuple(patch * side for side in latents.shape[-2:])
        if len(latents) < 8 or len(latents) != len(pictures) or tuple(pictures.shape[-2:]) != whole:
            raise ValueError(
                f"a linear preview is fitted to eight pictures or more of whole patches; given are latents of shape "
                f"{tuple(latents.shape)} and pictures of {tuple(pictures.shape)}"
            )
        held = torch.arange(len(latents)) % 4 == 3
        found = _least_squares(latents[~held], pictures[~held], patch)
        left = pictures[held] - found.pictures(latents[held])
        explained = 1 - float(left.square().mean() / pictures[held].var(correction=0).clamp_min(1e-12))
        return cls(found.weight, found.bias, explained)

    def save(self, file: str | Path) -> None:
        """Write a .safetensors file."""
        explained = torch.tensor([self.explained])
        kept = {"weight": self.weight, "bias": self.bias, "explained": explained}
        save_file({name: one.contiguous() for name, one in kept.items()}, file)

    @classmethod
    def load(cls, file: str | Path) -> LinearPreview:
        """Read a file that `save` wrote.

        Raises:
            ValueError: where it is missing or holds no fit.
        """
        if not Path(file).is_file():
            raise ValueError(f"no linear preview {file}; `samplesmith calibrate` writes {FILE_NAME} into its folder")
        with in_one_sentence(f"{file} is no linear preview"):
            kept = load_file(file)
            return cls(kept["weight"], kept["bias"], float(kept["explained"]))


def _least_squares(latents: Tensor, pictures: Tensor, patch: int) -> LinearPreview:
    channels = latents.shape[1]
    around = functional.unfold(functional.pad(latents.double(), (1, 1, 1, 1), mode="replicate"), 3)
    inputs = around.transpose(1, 2).reshape(-1, 9 * channels)
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1, dtype=torch.float64)], 1)
    pixels = functional.pixel_unshuffle(pictures.double(), patch).flatten(2).transpose(1, 2).reshape(len(inputs), -1)
    ridge = 1e-6 * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    found = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ pixels).T.float()
    return LinearPreview(found[:, :-1].reshape(-1, channels, 3, 3), found[:, -1])


def tiny(pipe: Any, model: str) -> QuickPreview:
    """A tiny autoencoder by name."""
    return TinyPreview(model)


def latent(pipe: Any, file: str | None = None) -> QuickPreview:
    """A linear fit from its file, or the one that lies in the folder of the pipeline's model."""
    return LinearPreview.load(file or Path(str(pipe.config.get("_name_or_path") or "")) / FILE_NAME)


PREVIEWS: dict[str, Callable[..., QuickPreview]] = {"tiny": tiny, "latent": latent}
"""By name; each is called with the pipeline and its settings."""


def check_preview(spec: str) -> None:
    """Refuse an unknown name or setting.

    Raises:
        ValueError: listing the known ones.
    """
    if spec != FULL:
        resolve(spec, PREVIEWS, "preview", given=["pipe"])


def make_preview(spec: str | QuickPreview | None, pipe: Any) -> QuickPreview | None:
    """A preview by name, such as "latent:file=fit.safetensors" or "tiny:model=madebyollin/taesd"; None for "full".

    Raises:
        ValueError: for an unknown name or setting, and what cannot be loaded.
    """
    if isinstance(spec, QuickPreview):
        return spec
    if spec is None or spec == FULL:
        return None
    maker, settings = resolve(spec, PREVIEWS, "preview", given=["pipe"])
    return maker(pipe, **settings)
