"""How well an image fits its prompt, by any open_clip model."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from logging import WARNING, getLogger
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor

from .base import Verifier
from .identity import describe
from .images import resize_and_crop

PROBE = "A photo of 2 cats, left of the RED box!"
"""A text by whose ids tokenizers are compared."""


class CLIPVerifier(Verifier):
    """Cosine similarity of image and prompt features (CLIPScore without its factor, arXiv 2104.08718).

    Range: [-1, 1]; about 0.3 for a good match of OpenAI's and LAION's models. Differentiable. Licence: that of the
    weights (MIT for LAION's and OpenAI's, Apache-2.0 for emoji-clip). Each prompt is encoded once and kept.

    Args:
        model: an open_clip model.
        tokenizer: its tokenizer.
        mean, std: of its preprocessing, three each.
        image_size: side in pixels; images are resized with antialiasing, then cropped at the centre.
        name: of its scores.
    """

    differentiable = True
    scale = 0.3

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,
        mean: Sequence[float] = open_clip.OPENAI_DATASET_MEAN,
        std: Sequence[float] = open_clip.OPENAI_DATASET_STD,
        image_size: int = 224,
        name: str = "clip",
    ):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.mean = torch.tensor(mean).view(1, 3, 1, 1)
        self.std = torch.tensor(std).view(1, 3, 1, 1)
        self.image_size = image_size
        self.name = name
        self._text_features: dict[str, Tensor] = {}

    @classmethod
    def load(cls, model: str | Path, weights: str | Path | None = None, name: str | None = None) -> CLIPVerifier:
        """Load from open_clip.

        Args:
            model: a folder with `open_clip_config.json`, or a name that open_clip knows, such as "ViT-L-14".
            weights: for a name: a file of weights (read with `weights_only=True`) or a tag such as "openai".
            name: of its scores; the folder's or the model's when None.

        Raises:
            ValueError: for an unknown model or tag, or missing weights.
        """
        folder = Path(model)
        if folder.is_dir():
            source, weights = f"local-dir:{folder}", None
        else:
            source, known = str(model), open_clip.list_models()
            if source not in known:
                raise ValueError(
                    f"{source!r} is neither a folder nor a model that open_clip knows, such as ViT-B-32 or ViT-L-14"
                )
            tags = open_clip.list_pretrained_tags_by_model(source)
            if weights is None or (not Path(weights).is_file() and str(weights) not in tags):
                raise ValueError(
                    f"weights {str(weights)!r} of {source} are neither a file nor a tag; give a file, or one of: "
                    f"{', '.join(tags)}"
                )
            weights = str(weights)
        # open_clip draws random weights before it loads: the global generator is put back.
        with _quiet_open_clip(), torch.random.fork_rng(devices=[]):
            network = open_clip.create_model(source, pretrained=weights, weights_only=True)
            tokenizer = open_clip.get_tokenizer(source)
        preprocess = open_clip.get_model_preprocess_cfg(network)
        size = preprocess["size"]
        return cls(
            network,
            tokenizer,
            preprocess["mean"],
            preprocess["std"],
            size if isinstance(size, int) else size[0],
            name or folder.name,
        )

    @property
    def working_size(self) -> int:
        return self.image_size

    def settings(self) -> dict[str, Any]:
        # A tokenizer is known by what it makes of a text: its classes and arguments differ from library to library.
        return super().settings() | {"tokenizer": describe(self.tokenizer([PROBE]))}

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def preprocess(self, images: Tensor) -> Tensor:
        """Images in [0, 1], resized on the shorter side, cropped at the centre, normalised."""
        images = resize_and_crop(images, self.image_size)
        return (images - self.mean.to(images)) / self.std.to(images)

    def image_features(self, images: Tensor) -> Tensor:
        """Normalised features (batch, dim) of images (batch, 3, height, width) in [0, 1]."""
        return self.model.encode_image(self.preprocess(images.to(self.device)), normalize=True)

    def text_features(self, prompts: Sequence[str]) -> Tensor:
        """Normalised features (batch, dim)."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._text_features]
        if new:
            ids = self.tokenizer(new)
            for prompt, row in zip(new, ids, strict=True):
                if self._is_cut(prompt, row):
                    warnings.warn(f"{self.name} sees the prompt cut to {len(row)} tokens: {prompt!r}", stacklevel=3)
            with torch.no_grad():
                features = self.model.encode_text(ids.to(self.device), normalize=True)
            self._text_features.update(zip(new, features, strict=True))
        return torch.stack([self._text_features[prompt] for prompt in prompts])

    def _is_cut(self, prompt: str, row: Tensor) -> bool:
        if hasattr(self.tokenizer, "encode"):
            return len(self.tokenizer.encode(prompt)) + 2 > len(row)
        return len(self.tokenizer.tokenizer(prompt).input_ids) > len(row)

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        return (self.image_features(images) * self.text_features(prompts)).sum(-1).cpu()

    def to(self, device: Any) -> CLIPVerifier:
        self.model.to(device)
        self._text_features = {prompt: row.to(device) for prompt, row in self._text_features.items()}
        return self


@contextmanager
def _quiet_open_clip():
    """open_clip logs each step of a load on the root logger."""
    root = getLogger()
    level = root.level
    root.setLevel(max(level, WARNING))
    try:
        yield
    finally:
        root.setLevel(level)
