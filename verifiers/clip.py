"""How well an image fits its prompt, by any open_clip model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import WARNING, getLogger
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image
from torch import Tensor

from ..foreign_errors import reason_of
from . import git_lfs
from .base import Verifier
from .identity import describe
from .preprocessing import OpenClipPreprocessing, Preprocessing

PROBE = "A photo of 2 cats, left of the RED box!"
"""A text by whose ids tokenizers are compared."""

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


class CLIPVerifier(Verifier):
    """Cosine similarity of image and prompt features (CLIPScore without its factor, arXiv 2104.08718).

    Range: [-1, 1]; about 0.3 for a good match of OpenAI's and LAION's models. Differentiable. Licence: that of the
    weights (MIT for LAION's and OpenAI's, Apache-2.0 for emoji-clip). Each prompt is encoded once and kept.

    Pictures are resized by the code of the library that the model comes from, one at a time; see `Preprocessing` for
    what holds for tensors.

    Args:
        model: an open_clip model.
        tokenizer: its tokenizer.
        preprocessing: how images reach it; None: what open_clip keeps with the model.
        name: of its scores.
    """

    differentiable = True
    takes_pictures = True
    scale = 0.3

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        preprocessing: Preprocessing | None = None,
        name: str = "clip",
    ):
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.preprocess = preprocessing or OpenClipPreprocessing(open_clip.get_model_preprocess_cfg(model))
        self.name = name
        self._text_features: dict[str, Tensor] = {}

    @classmethod
    def load(cls, model: str | Path, weights: str | Path | None = None, name: str | None = None) -> CLIPVerifier:
        """Load from open_clip.

        The weights of a tag run with the activation and the preprocessing that open_clip lists for the tag. A file runs
        with what its model's name says: OpenAI's weights need a name that ends in "-quickgelu", and SigLIP's a folder,
        which says all itself. Where all published weights of a model run otherwise than its file does, a warning says
        so.

        Args:
            model: a folder with `open_clip_config.json`, or a name that open_clip knows, such as "ViT-L-14".
            weights: for a name: a file of weights (read with `weights_only=True`) or a tag such as "openai".
            name: of its scores; the folder's or the model's when None.

        Raises:
            ValueError: for an unknown model or tag, and for weights that are missing, unreadable or of another model.
        """
        folder = Path(model)
        if folder.is_dir():
            source, weights = f"local-dir:{folder}", None
            _check_folder(folder)
        else:
            source = str(model)
            weights = _check_weights(source, weights)
        # open_clip draws random weights before it loads: the global generator is put back.
        try:
            with _quiet_open_clip(), torch.random.fork_rng(devices=[]):
                network = open_clip.create_model(
                    source,
                    pretrained=weights,
                    weights_only=True,
                    require_pretrained=True,
                    **_activation(source, weights),
                )
                tokenizer = open_clip.get_tokenizer(source)
        except Exception as error:  # open_clip's, torch's, safetensors', the hub's
            place = folder if weights is None else f"{weights!r} for {source}"
            reason = reason_of(error).rstrip(":")
            raise ValueError(
                f"open_clip cannot load {place}: {reason}; check that the weights are whole and of this model"
            ) from error
        made = cls(network, tokenizer, name=name or folder.name)
        if weights is not None:
            _warn_of_published(source, weights, made.preprocess)
        return made

    def settings(self) -> dict[str, Any]:
        # A tokenizer is known by what it makes of a text: its classes and arguments differ from library to library.
        return {
            "model": describe(self.model),
            "preprocessing": self.preprocess.settings(),
            "tokenizer": describe(self.tokenizer([PROBE])),
        }

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def image_features(self, images: Tensor | Sequence[Image.Image]) -> Tensor:
        """Normalised features (batch, dim) of images (batch, 3, height, width) in [0, 1], or of RGB pictures."""
        return self.model.encode_image(self.preprocess(images).to(self.device), normalize=True)

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

    def score(
        self, images: Tensor | Sequence[Image.Image], prompts: Sequence[str], previews: Tensor | None = None
    ) -> Tensor:
        return (self.image_features(images) * self.text_features(prompts)).sum(-1).cpu()

    def to(self, device: Any) -> CLIPVerifier:
        self.model.to(device)
        self._text_features = {prompt: row.to(device) for prompt, row in self._text_features.items()}
        return self


def _check_folder(folder: Path) -> None:
    if not (folder / "open_clip_config.json").is_file():
        raise ValueError(
            f"the folder {folder} holds no open_clip_config.json, so it is no open_clip model; name another"
        )
    weights = [file for file in folder.iterdir() if file.suffix in WEIGHT_SUFFIXES]
    if not weights:
        raise ValueError(
            f"the folder {folder} holds no weights ({', '.join(WEIGHT_SUFFIXES)}) beside its open_clip_config.json; "
            "add them, such as open_clip_model.safetensors"
        )
    git_lfs.refuse_pointers(weights)


def _check_weights(model: str, weights: str | Path | None) -> str:
    if model not in open_clip.list_models():
        raise ValueError(
            f"{model!r} is neither a folder nor a model that open_clip knows, such as ViT-B-32 or ViT-L-14"
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if weights is None or (not Path(weights).is_file() and str(weights) not in tags):
        raise ValueError(
            f"weights {str(weights)!r} of {model} are neither a file nor a tag; give a file, or one of: "
            f"{', '.join(tags)}"
        )
    if str(weights) not in tags:
        git_lfs.refuse_pointers([weights])
    return str(weights)


def _activation(model: str, tag: str | None) -> dict[str, bool]:
    """Arguments of `open_clip.create_model` that give a tag the activation that its weights were trained with."""
    if tag not in open_clip.list_pretrained_tags_by_model(model):
        return {}
    trained = bool(open_clip.get_pretrained_cfg(model, tag).get("quick_gelu", False))
    built = bool(open_clip.get_model_config(model).get("quick_gelu", False))
    if trained == built:
        return {}
    return {"force_quick_gelu": True} if trained else {"quick_gelu": False}


def _warn_of_published(model: str, file: str, preprocess: Preprocessing) -> None:
    """Say where all published weights of a model need other settings than open_clip gives a file of weights."""
    tags = open_clip.list_pretrained_tags_by_model(model)
    if file in tags or not tags:
        return
    published = [open_clip.get_pretrained_cfg(model, tag) for tag in tags]
    differing = []
    if all(config.get("quick_gelu", False) for config in published) and not open_clip.get_model_config(model).get(
        "quick_gelu"
    ):
        differing.append("QuickGELU as activation (name a model that ends in -quickgelu)")
    own = preprocess.settings()
    for key in ("mean", "std", "interpolation", "resize_mode"):
        values = [list(config[key]) if isinstance(config.get(key), tuple) else config.get(key) for config in published]
        if None not in values and own[key] not in values and all(value == values[0] for value in values):
            differing.append(f"{key} {values[0]} (save a folder with open_clip_config.json)")
    if differing:
        warnings.warn(
            f"{file} runs as open_clip sets up {model}, while all published weights of it need {'; '.join(differing)}",
            stacklevel=3,
        )


@contextmanager
def _quiet_open_clip() -> Iterator[None]:
    """open_clip logs each step of a load on the root logger, and warns of the activation that is then set."""
    root = getLogger()
    level = root.level
    root.setLevel(max(level, WARNING))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "QuickGELU mismatch")
            yield
    finally:
        root.setLevel(level)
