"""A classifier of Fashion-MNIST: its features serve for FID, its log-probabilities as a verifier of class labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ..fashion import CLASSES, IMAGE_SIZE, PADDED_SIZE
from .base import Verifier
from .detector import ResidualBlock
from .images import at_one_size


class FashionClassifier(ModelMixin, ConfigMixin):
    """
    A small residual network (He et al., arXiv 1512.03385) on 32 px grey pictures.

    This model inherits from [`ModelMixin`] and [`ConfigMixin`]: `save_pretrained`, `from_pretrained`, `.dtype`.

    Args:
        width (`int`, defaults to 24):
            Channels of the first stage; the second and third have twice and four times as many.
    """

    @register_to_config
    def __init__(self, width: int = 24):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.stages = nn.Sequential(
            ResidualBlock(width, width),
            ResidualBlock(width, 2 * width, 2),
            ResidualBlock(2 * width, 2 * width),
            ResidualBlock(2 * width, 4 * width, 2),
            ResidualBlock(4 * width, 4 * width),
        )
        self.head = nn.Linear(4 * width, len(CLASSES))

    def features(self, images: Tensor) -> Tensor:
        """
        What the last layer sees, (batch, 4 * width).

        Args:
            images: (batch, 1 or 3, height, width) in [0, 1]; 28 px ones get their black border, other sizes than 32
                are resized.

        Raises:
            ValueError: for a tensor of another form.
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
            raise ValueError(
                f"images have shape {tuple(images.shape)} and dtype {images.dtype}; expected a float tensor "
                "(batch, 1 or 3, height, width) in [0, 1]"
            )
        x = grey_at_model_size(images.to(self.device, self.dtype))
        return self.stages(self.stem(x * 2 - 1)).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """
        Logits of the ten classes, (batch, 10).

        Args:
            images: as `features` takes them.
        """
        return self.head(self.features(images))


def load_classifier(folder: str | Path) -> FashionClassifier:
    """Read what `save_pretrained` wrote, in float32.

    Raises:
        ValueError: where weights are missing, which diffusers would draw at random; naming the folder.
    """
    model, report = FashionClassifier.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    if report["missing_keys"]:
        raise ValueError(f"the weights of the classifier in {folder} lack {min(report['missing_keys'])}")
    return model.eval()


def grey_at_model_size(images: Tensor) -> Tensor:
    """Images (batch, 1 or 3, height, width) as grey 32 px ones: of 28 px with their black border, others resized."""
    x = images.mean(1, keepdim=True)
    if x.shape[-2:] == (IMAGE_SIZE, IMAGE_SIZE):
        return F.pad(x, [(PADDED_SIZE - IMAGE_SIZE) // 2] * 4)
    if x.shape[-2:] != (PADDED_SIZE, PADDED_SIZE):
        return F.interpolate(x, size=(PADDED_SIZE, PADDED_SIZE), mode="bicubic", antialias=True)
    return x


class ClassVerifier(Verifier):
    """log p(class | image) of the class that is asked for, by its number or name.

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
        asked = torch.tensor([class_number(prompt) for prompt in prompts], device=self.model.device)
        small = at_one_size(images, grey_at_model_size)
        return self.model(small).float().log_softmax(1).gather(1, asked[:, None])[:, 0].cpu()

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
