"""The network that tells the clothes of Fashion-MNIST apart; its features serve for FID."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from ..fashion import CLASSES, IMAGE_SIZE, PADDED_SIZE
from .residual_block import ResidualBlock


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
        return self.stages(self.stem(tvf.normalize(x, [0.5], [0.5]))).mean((2, 3))

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
        return tvf.pad(x, [(PADDED_SIZE - IMAGE_SIZE) // 2])
    return tvf.resize(x, [PADDED_SIZE, PADDED_SIZE], InterpolationMode.BICUBIC)
