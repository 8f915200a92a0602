"""The network that finds the sprites of an emoji scene."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..scenes import BACKGROUNDS, OBJECTS
from .residual_block import ResidualBlock

SIDE = 128
"""Pixels per side of the pictures that the network takes."""
CELL = 8
"""Pixels per side of a cell of the heat maps: a picture has 16 x 16 cells."""


class SceneDetector(nn.Module):
    """Centres as heat maps (Zhou et al., *Objects as Points*, arXiv 1904.07850), and the background.

    Input (batch, 3, 128, 128) in [-1, 1]; returns heat-map logits (batch, 25, 16, 16), one map per object and one of
    what is malformed; boxes (batch, 3, 16, 16), the centre's distance from the cell's middle in x and y, in cells, and
    the side of the sprite in pictures; and background logits (batch, 6).

    Args:
        width: channels of the first stage.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        self.config = {"width": width}
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), ResidualBlock(width, width)
        )
        self.fine = nn.Sequential(ResidualBlock(width, 2 * width, 2), ResidualBlock(2 * width, 2 * width))
        self.coarse = nn.Sequential(
            ResidualBlock(2 * width, 4 * width, 2),
            ResidualBlock(4 * width, 4 * width),
            ResidualBlock(4 * width, 4 * width),
        )
        self.merge = ResidualBlock(6 * width, 3 * width)
        self.heat = nn.Conv2d(3 * width, len(OBJECTS) + 1, 1)
        self.box = nn.Conv2d(3 * width, 3, 1)
        self.background = nn.Linear(2 * width, len(BACKGROUNDS))
        nn.init.constant_(cast(Tensor, self.heat.bias), -4.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.fine(self.stem(F.avg_pool2d(x, 2)))
        coarse = F.interpolate(self.coarse(fine), scale_factor=2, mode="nearest")
        merged = self.merge(torch.cat([fine, coarse], 1))
        return self.heat(merged), self.box(merged), self.background(fine.mean((2, 3)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` (fp16)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config) + "\n")
        halves = {k: v.half() if v.is_floating_point() else v for k, v in self.state_dict().items()}
        save_file(halves, folder / "model.safetensors")

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> SceneDetector:
        """Read what `save_pretrained` wrote, in float32."""
        with torch.device("meta"):  # no random weights that would only be replaced
            model = cls(**json.loads((Path(folder) / "config.json").read_text()))
        halves = load_file(Path(folder) / "model.safetensors")
        state = {name: value.float() if value.is_floating_point() else value for name, value in halves.items()}
        model.load_state_dict(state, assign=True)
        return model.eval()
