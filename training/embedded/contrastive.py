"""The contrastive loss of pictures and captions, with rivals that are nearly right."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ...scenes import DrawnScene, Scene


def also_true(captions: list[Scene], drawn: list[DrawnScene]) -> Tensor:
    """(captions, pictures): whether a caption is true of a picture that is not its own."""
    true = torch.tensor([[picture.shows(scene) for picture in drawn] for scene in captions])
    return true.fill_diagonal_(False)


def contrastive_loss(
    image: Tensor, negative: Tensor, text: Tensor, hard: Tensor, scale: Tensor | float, true: Tensor
) -> Tensor:
    """Each picture picks its caption among all and its own hard ones; each caption its picture among all, spoiled too.

    Args:
        image, negative, text: normalised features (batch, dim) of pictures, pictures that are nearly right, captions.
        hard: those of hard captions, (batch, hard captions, dim).
        scale: of the similarities.
        true: (batch, 2 batch), whether a caption is true of another's picture, which is no rival there.
    """
    target = torch.arange(len(image))
    # Masked after they are scaled: the scale's gradient at an infinite product is NaN.
    own_hard = scale * torch.einsum("bd,bhd->bh", image, hard)
    to_text = torch.cat([(scale * image @ text.T).masked_fill(true[:, : len(image)].T, -torch.inf), own_hard], 1)
    to_image = (scale * text @ torch.cat([image, negative]).T).masked_fill(true, -torch.inf)
    return (F.cross_entropy(to_text, target) + F.cross_entropy(to_image, target)) / 2
