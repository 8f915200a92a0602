"""The judge of emoji scenes: detects the sprites of a picture and compares them with the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from ..models.scene_detector import CELL, SIDE, SceneDetector
from ..scenes import BACKGROUNDS, OBJECTS, Scene, parse
from ..scenes.grammar import NUMBER_WORDS
from .base import Verifier
from .images import Images, are_clips, at_one_size, read_images


class Spot(NamedTuple):
    """A sprite in a picture.

    Attributes:
        object: its name; "malformed" for a sprite that is no object.
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
    """What the judge sees, compared with the scene of the prompt."""

    asked: Scene
    sighting: Sighting

    @property
    def counts(self) -> dict[str, int]:
        """Number of whole sprites by object; the objects of the prompt come first, 0 where there is none."""
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
        """Whether each sprite of the first group is before all of the second; None for a prompt without relation."""
        return self.asked.relation_holds(self.sighting.found)

    @property
    def says_right(self) -> bool:
        """Whether objects, counts, background and relation are those of the prompt, whatever is malformed."""
        return self.counts_right and self.background_right and self.relation_right is not False

    @property
    def right(self) -> bool:
        """Whether objects, counts, background and relation are those of the prompt, and nothing is malformed."""
        return self.says_right and not self.sighting.malformed

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
    """1 where a strict detector sees exactly the scene of the prompt, else 0.

    Range: 0 or 1. Not differentiable. Licence of the shipped weights: Apache-2.0.

    Args:
        model: the detector.
        threshold: a peak of a heat map above this value is a sprite.
        name: of its scores.
        malformed_threshold: a peak above this value in the map of what is malformed makes a picture wrong.
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
        """What is seen in each image (batch, 3, height, width) in [0, 1]; positions are in pixels of 128 x 128."""
        parameter = next(self.model.parameters())
        x = _at_model_size(images).to(parameter.device, parameter.dtype)
        heat, box, background = self.model(tvf.normalize(x, [0.5], [0.5]))
        heat, box = heat.float().sigmoid(), box.float()
        thresholds = heat.new_full((heat.shape[1], 1, 1), self.threshold)
        thresholds[len(OBJECTS) :] = self.malformed_threshold
        peaks = ((heat == F.max_pool2d(heat, 3, 1, 1)) & (heat > thresholds)).nonzero()
        shifts = box[peaks[:, 0], :, peaks[:, 2], peaks[:, 3]].tolist()
        whole: list[list[Spot]] = [[] for _ in range(len(x))]
        malformed: list[list[Spot]] = [[] for _ in range(len(x))]
        for (i, k, row, column), (dx, dy, size) in zip(peaks.tolist(), shifts, strict=True):
            name, spots = (OBJECTS[k], whole) if k < len(OBJECTS) else ("malformed", malformed)
            spots[i].append(Spot(name, (column + 0.5 + dx) * CELL, (row + 0.5 + dy) * CELL, size * SIDE))
        names = list(BACKGROUNDS)
        return [
            Sighting(names[k], tuple(some), tuple(bad))
            for k, some, bad in zip(background.argmax(1).tolist(), whole, malformed, strict=True)
        ]

    def verdicts(self, images: Images, prompts: Sequence[str]) -> list[Verdict]:
        """One verdict per image.

        Raises:
            PromptError: where a prompt is not the caption of an emoji scene.
            ValueError: for clips.
        """
        wanted = [parse(prompt) for prompt in prompts]
        given = read_images(images)
        if are_clips(given) or isinstance(given, list):
            raise ValueError("a verdict is of a picture, and these are clips; give their frames")
        batch = at_one_size(given, _at_model_size)
        seen = [sighting for part in batch.split(self.batch_size) for sighting in self.detect(part)]
        return [Verdict(scene, sighting) for scene, sighting in zip(wanted, seen, strict=True)]

    def score(self, images: Tensor, prompts: Sequence[str], previews: Tensor | None = None) -> Tensor:
        return torch.tensor([float(verdict.right) for verdict in self.verdicts(images, prompts)])

    def to(self, device: Any) -> DetectorVerifier:
        self.model.to(device)
        return self


def _at_model_size(images: Tensor) -> Tensor:
    return tvf.resize(images, [SIDE, SIDE], InterpolationMode.BICUBIC)
