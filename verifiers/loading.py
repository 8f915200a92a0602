"""Verifiers by name: shipped ones, folders, and any open_clip model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from .. import assets
from .aesthetic import AestheticVerifier, load_head
from .base import Verifier
from .classifier import ClassVerifier, FashionClassifier
from .clip import CLIPVerifier
from .detector import DetectorVerifier, SceneDetector


def _clip(folder: Path) -> CLIPVerifier:
    return CLIPVerifier.load(folder)


def _detector(folder: Path) -> DetectorVerifier:
    return DetectorVerifier(SceneDetector.from_pretrained(folder), name=folder.name)


def _aesthetic(folder: Path) -> AestheticVerifier:
    clip = CLIPVerifier.load(assets.path(assets.card(folder.name)["clip"]))
    return AestheticVerifier(clip, load_head(folder / "model.safetensors"), folder.name)


def _classifier(folder: Path) -> ClassVerifier:
    return ClassVerifier(FashionClassifier.from_pretrained(folder, dtype=torch.float32), folder.name)


LOADERS: dict[str, Callable[[Path], Verifier]] = {
    "clip": _clip,
    "detector": _detector,
    "aesthetic": _aesthetic,
    "classifier": _classifier,
}
"""Loaders of shipped verifiers, by the `loader` of their card."""

FORMS = (
    "clip:MODEL:WEIGHTS (a tag or a file), aesthetic:HEAD_FILE:MODEL:WEIGHTS, or a folder with open_clip_config.json"
)


def load_verifier(name: str | Path) -> Verifier:
    """Load a verifier.

    Args:
        name: a shipped one ("emoji-clip", "emoji-aesthetic", "emoji-detector"), a folder of an open_clip model,
            "clip:ViT-L-14:openai", "clip:ViT-L-14:weights.safetensors", or "aesthetic:head.pth:ViT-L-14:openai".

    Raises:
        ValueError: for anything else; the message lists the forms.
    """
    text = str(name)
    kind, *parts = text.split(":")
    if kind == "clip" and len(parts) == 2:
        return CLIPVerifier.load(*parts, name=parts[0])
    if kind == "aesthetic" and len(parts) == 3:
        return AestheticVerifier(CLIPVerifier.load(*parts[1:]), load_head(parts[0]))
    if (Path(text) / "open_clip_config.json").is_file():
        return CLIPVerifier.load(text)
    if text in assets.names("verifier"):
        return LOADERS[assets.card(text)["loader"]](assets.path(text))
    raise ValueError(f"unknown verifier {text!r}; shipped: {', '.join(assets.names('verifier'))}; other forms: {FORMS}")
