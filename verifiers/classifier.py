"""How likely a picture shows the class of its prompt, by a classifier of Fashion-MNIST."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..fashion import CLASSES
from ..models.fashion_classifier import FashionClassifier, grey_at_model_size
from .base import Verifier
from .images import at_one_size


class ClassVerifier(Verifier):
    """log p(class | image) of the class that the prompt names, by its number or name.

    Range: up to 0. Differentiable. Licence of the shipped weights: Apache-2.0.

    Args:
        model: the classifier.
        name: of its scores.
    """

    differentiable = True
    takes_pictures = True

    def __init__(self, model: FashionClassifier, name: str = "fashion-classifier"):
        self.model = model.eval().requires_grad_(False)
        self.name = name
        self.batch_size = 256

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        wanted = torch.tensor([class_number(prompt) for prompt in prompts], device=self.model.device)
        small = at_one_size(images, grey_at_model_size)
        return self.model(small).float().log_softmax(1).gather(1, wanted[:, None])[:, 0].cpu()

    def to(self, device: Any) -> ClassVerifier:
        self.model.to(device)
        return self


def class_number(prompt: str | int) -> int:
    """Label of a class of Fashion-MNIST, given as its number or name.

    Raises:
        ValueError: for anything else; it lists the classes.
    """
    text = str(prompt)
    if text in CLASSES:
        return CLASSES.index(text)
    if text.isdecimal() and int(text) < len(CLASSES):
        return int(text)
    known = ", ".join(f"{k} ({name})" for k, name in enumerate(CLASSES))
    raise ValueError(f"{text!r} is no class of Fashion-MNIST; known: {known}")
