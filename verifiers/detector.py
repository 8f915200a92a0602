"""The judge of emoji scenes: finds the sprites of a picture and holds them against what the prompt asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..scenes import BACKGROUNDS, OBJECTS, Scene, parse
from .base import Verifier
from .images import Images, as_tensor

CELL = 8
"""Pixels a cell of the heat maps: a 128-px picture has 16 x 16 cells."""


class ResidualBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.skip = nn.Identity()
        if stride > 1 or channels_in != channels_out:
            self.skip = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(h)) + self.skip(x))


class SceneDetector(nn.Module):
    """Centres as heat maps (Zhou et al., *Objects as Points*, arXiv 1904.07850): one map a class, and the background.

    Input (batch, 3, 128, 128) in [-1, 1]; returns heat-map logits (batch, 24, 16, 16) and background logits (batch, 6).
    """

    def __init__(self, width: int = 32):
        super().__init__()
        self.width = width
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
        self.heat = nn.Conv2d(3 * width, len(OBJECTS), 1)
        self.background = nn.Linear(2 * width, len(BACKGROUNDS))
        nn.init.constant_(self.heat.bias, -4.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        fine = self.fine(self.stem(F.avg_pool2d(x, 2)))
        coarse = F.interpolate(self.coarse(fine), scale_factor=2, mode="nearest")
        return self.heat(self.merge(torch.cat([fine, coarse], 1))), self.background(fine.mean((2, 3)))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write `config.json` and `model.safetensors` (fp16)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps({"width": self.width}) + "\n")
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


@dataclass(frozen=True)
class Verdict:
    """What the judge found against what was asked."""

    asked: Scene
    background: str
    found: tuple[tuple[str, float, float], ...]
    """Object, x and y of its centre in pixels."""

    @property
    def counts(self) -> dict[str, int]:
        """Sprites found, by object; asked objects come first, 0 where none was found."""
        counts = dict.fromkeys(self.asked.counts, 0)
        for name, _, _ in self.found:
            counts[name] = counts.get(name, 0) + 1
        return counts

    @property
    def counts_right(self) -> bool:
        return self.counts == self.asked.counts

    @property
    def background_right(self) -> bool:
        return self.background == self.asked.background

    @property
    def relation_right(self) -> bool | None:
        """None where no relation was asked for; every sprite of the first group must stand before all of the second."""
        if self.asked.relation is None:
            return None
        axis = 1 if self.asked.relation == "left of" else 2
        first, second = ([spot[axis] for spot in self.found if spot[0] == g.object] for g in self.asked.groups)
        return bool(first and second) and max(first) < min(second)

    @property
    def right(self) -> bool:
        """Objects, counts, background and relation are all as asked."""
        return self.counts_right and self.background_right and self.relation_right is not False

    def __str__(self) -> str:
        asked = self.asked.counts
        parts = [f"{group}: found {self.counts[group.object]}" for group in self.asked.groups] + [
            f"not asked for: {name} ({count})" for name, count in self.counts.items() if name not in asked
        ]
        seen = "" if self.background_right else f" ({self.background})"
        parts.append(f"background {self.asked.background}: {'yes' if self.background_right else 'no'}{seen}")
        if self.relation_right is not None:
            parts.append(f"{self.asked.relation}: {'yes' if self.relation_right else 'no'}")
        return "; ".join(parts)


class DetectorVerifier(Verifier):
    """1 where a strict detector finds just what the prompt asks for, else 0.

    Range: 0 or 1. Not differentiable. Licence of the shipped weights: Apache-2.0.

    Args:
        model: the detector.
        threshold: a heat-map peak above it is a sprite.
        name: of its scores.
    """

    def __init__(self, model: SceneDetector, threshold: float = 0.5, name: str = "emoji-detector"):
        self.model = model.eval().requires_grad_(False)
        self.threshold = threshold
        self.name = name
        self.batch_size = 64

    @property
    def working_size(self) -> int:
        return 128

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[tuple[str, tuple[tuple[str, float, float], ...]]]:
        """Background and sprites of each image (batch, 3, height, width) in [0, 1]."""
        parameter = next(self.model.parameters())
        x = images.to(parameter.device, parameter.dtype)
        if x.shape[-2:] != (128, 128):
            x = F.interpolate(x, size=(128, 128), mode="bicubic", antialias=True)
        heat, background = self.model(x * 2 - 1)
        heat = heat.float().sigmoid()
        peaks = (heat == F.max_pool2d(heat, 3, 1, 1)) & (heat > self.threshold)
        names = list(BACKGROUNDS)
        found: list[list[tuple[str, float, float]]] = [[] for _ in range(len(x))]
        for i, k, row, column in peaks.nonzero().tolist():
            found[i].append((OBJECTS[k], column * CELL + CELL / 2, row * CELL + CELL / 2))
        return [(names[k], tuple(spots)) for k, spots in zip(background.argmax(1).tolist(), found, strict=True)]

    def verdicts(self, images: Images, prompts: Sequence[str]) -> list[Verdict]:
        """What was found, a verdict an image.

        Raises:
            PromptError: where a prompt is no caption of an emoji scene.
        """
        asked = [parse(prompt) for prompt in prompts]
        batch = as_tensor(images, self.working_size)
        found = [one for part in batch.split(self.batch_size) for one in self.detect(part)]
        return [Verdict(scene, *seen) for scene, seen in zip(asked, found, strict=True)]

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        return torch.tensor([float(verdict.right) for verdict in self.verdicts(images, prompts)])

    def to(self, device: Any) -> DetectorVerifier:
        self.model.to(device)
        return self
