"""Where sprites are: maps of a picture's patches as targets, and the loss of maps that are found."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ... import scenes
from ...scenes import DrawnScene

PATCH = 16
"""Pixels of a patch's side: a cell of the guide's third stage and of the generators' features."""


def patch_maps(drawn: Sequence[DrawnScene]) -> torch.Tensor:
    """(batch, patches, 24): 1 where the centre of a whole sprite lies in the patch."""
    side = scenes.IMAGE_SIZE // PATCH
    maps = torch.zeros(len(drawn), side * side, len(scenes.OBJECTS))
    for i, picture in enumerate(drawn):
        for sprite in picture.sprites:
            x, y = (min(side - 1, int(position / PATCH)) for position in sprite.center)
            maps[i, y * side + x, scenes.OBJECTS.index(sprite.object)] = 1
    return maps


def focal_loss(logits: torch.Tensor, target: torch.Tensor, counted: torch.Tensor | None = None) -> torch.Tensor:
    """Objects as Points (arXiv 1904.07850), eq. 1 with alpha = 2 and beta = 4, per centre.

    Args:
        logits: of any shape.
        target: of the same shape, 1 at the centres and below 1 elsewhere.
        counted: 1 where the loss counts, 0 where nothing is known; broadcast; None: everywhere.
    """
    p = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = (target == 1).float() if counted is None else (target == 1) * counted
    elsewhere = 1 - (target == 1).float() if counted is None else (target != 1) * counted
    positive = centre * (1 - p) ** 2 * p.log()
    negative = elsewhere * (1 - target) ** 4 * p**2 * (1 - p).log()
    return -(positive + negative).sum() / centre.sum().clamp_min(1)
