"""The judge of emoji scenes: finds the sprites of a picture and holds them against what the prompt asks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..scenes import BACKGROUNDS, OBJECTS, Scene, parse
from ..scenes.grammar import NUMBER_WORDS
from .base import Verifier
from .images import Images, at_one_size, read_images

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
    """Centres as heat maps (Zhou et al., *Objects as Points*, arXiv 1904.07850), and the background.

    Input (batch, 3, 128, 128) in [-1, 1]; returns heat-map logits (batch, 25, 16, 16), one map per object and one of
    what is malformed; boxes (batch, 3, 16, 16), the centre's distance from the cell's middle in x and y, in cells, and
    the side of the sprite in pictures; and background logits (batch, 6).

    Args:
        width: channels of the first stage.
        malformed: whether it has the map of what is malformed, and boxes; without, malformed sprites only count as none
            and boxes are 0.
    """

    def __init__(self, width: int = 32, malformed: bool = False):
        super().__init__()
        self.config = {"width": width, "malformed": malformed}
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
        self.heat = nn.Conv2d(3 * width, len(OBJECTS) + malformed, 1)
        self.box = nn.Conv2d(3 * width, 3, 1) if malformed else None
        self.background = nn.Linear(2 * width, len(BACKGROUNDS))
        nn.init.constant_(self.heat.bias, -4.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.fine(self.stem(F.avg_pool2d(x, 2)))
        coarse = F.interpolate(self.coarse(fine), scale_factor=2, mode="nearest")
        merged = self.merge(torch.cat([fine, coarse], 1))
        box = merged.new_zeros(len(merged), 3, *merged.shape[2:]) if self.box is None else self.box(merged)
        return self.heat(merged), box, self.background(fine.mean((2, 3)))

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


class Spot(NamedTuple):
    """A sprite in a picture.

    Attributes:
        object: its name; "malformed" for what is no object.
        x, y: of its centre, in pixels.
        size: its side in pixels.
    """

    object: str
    x: float
    y: float
    size: float = 0.0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom in pixels."""
        half = self.size / 2
        return self.x - half, self.y - half, self.x + half, self.y + half


@dataclass(frozen=True)
class Sighting:
    """What the detector sees in a picture: its background, whole sprites, and malformed ones."""

    background: str
    found: tuple[Spot, ...]
    malformed: tuple[Spot, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What the judge found against what was asked."""

    asked: Scene
    sighting: Sighting

    @property
    def counts(self) -> dict[str, int]:
        """Whole sprites found, by object; those asked for come first, 0 where none was found."""
        counts = dict.fromkeys(self.asked.counts, 0)
        for spot in self.sighting.found:
            counts[spot.object] = counts.get(spot.object, 0) + 1
        return counts

    @property
    def counts_right(self) -> bool:
        return self.asked.counts_hold(self.counts)

    @property
    def background_right(self) -> bool:
        return self.asked.background_holds(self.sighting.background)

    @property
    def relation_right(self) -> bool | None:
        """None where no relation was asked for; every sprite of the first group must stand before all of the second."""
        return self.asked.relation_holds(self.sighting.found)

    @property
    def right(self) -> bool:
        """Objects, counts, background and relation are all as asked, and nothing is malformed."""
        return (
            self.counts_right
            and self.background_right
            and self.relation_right is not False
            and not self.sighting.malformed
        )

    def __str__(self) -> str:
        asked = self.asked.counts
        parts = [f"{group}: found {self.counts[group.object]}" for group in self.asked.groups]
        others = "also there" if self.asked.open else "not asked for"
        parts += [f"{others}: {name} ({count})" for name, count in self.counts.items() if name not in asked]
        if self.sighting.malformed:
            number = len(self.sighting.malformed)
            parts.append(f"and {NUMBER_WORDS.get(number, number)} malformed")
        if self.asked.background is not None:
            seen = "" if self.background_right else f" ({self.sighting.background})"
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
        malformed_threshold: a peak above it in the map of what is malformed makes a picture wrong.
    """

    def __init__(
        self,
        model: SceneDetector,
        threshold: float = 0.5,
        name: str = "emoji-detector",
        malformed_threshold: float = 0.5,
    ):
        self.model = model.eval().requires_grad_(False)
        self.threshold, self.malformed_threshold = threshold, malformed_threshold
        self.name = name
        self.batch_size = 64
        self.takes_pictures = True

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Sighting]:
        """What is seen in each image (batch, 3, height, width) in [0, 1]; places are in pixels of 128 x 128."""
        parameter = next(self.model.parameters())
        x = _at_model_size(images).to(parameter.device, parameter.dtype)
        heat, box, background = self.model(x * 2 - 1)
        heat, box = heat.float().sigmoid(), box.float()
        thresholds = heat.new_full((heat.shape[1], 1, 1), self.threshold)
        thresholds[len(OBJECTS) :] = self.malformed_threshold
        peaks = ((heat == F.max_pool2d(heat, 3, 1, 1)) & (heat > thresholds)).nonzero()
        shifts = box[peaks[:, 0], :, peaks[:, 2], peaks[:, 3]].tolist()
        whole: list[list[Spot]] = [[] for _ in range(len(x))]
        malformed: list[list[Spot]] = [[] for _ in range(len(x))]
        for (i, k, row, column), (dx, dy, size) in zip(peaks.tolist(), shifts, strict=True):
            name, spots = (OBJECTS[k], whole) if k < len(OBJECTS) else ("malformed", malformed)
            spots[i].append(Spot(name, (column + 0.5 + dx) * CELL, (row + 0.5 + dy) * CELL, size * 128))
        names = list(BACKGROUNDS)
        return [
            Sighting(names[k], tuple(some), tuple(bad))
            for k, some, bad in zip(background.argmax(1).tolist(), whole, malformed, strict=True)
        ]

    def verdicts(self, images: Images, prompts: Sequence[str]) -> list[Verdict]:
        """What was found, a verdict an image.

        Raises:
            PromptError: where a prompt is no caption of an emoji scene.
        """
        asked = [parse(prompt) for prompt in prompts]
        batch = at_one_size(read_images(images), _at_model_size)
        seen = [one for part in batch.split(self.batch_size) for one in self.detect(part)]
        return [Verdict(scene, one) for scene, one in zip(asked, seen, strict=True)]

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        return torch.tensor([float(verdict.right) for verdict in self.verdicts(images, prompts)])

    def to(self, device: Any) -> DetectorVerifier:
        self.model.to(device)
        return self


def _at_model_size(images: Tensor) -> Tensor:
    if images.shape[-2:] == (128, 128):
        return images
    return F.interpolate(images, size=(128, 128), mode="bicubic", antialias=True)
