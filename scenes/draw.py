"""Pictures of scenes: sprites from the shipped atlas, laid out without overlap on a plain background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from .grammar import BACKGROUNDS, OBJECTS, Scene
from .sampling import sample_scene

IMAGE_SIZE = 128
ATLAS = Path(__file__).parent.parent / "assets" / "emoji-sprites" / "sprites.png"
_CELL, _COLUMNS = 128, 6
_GAP = 2
_SIZES = {1: (44, 64), 2: (44, 58), 3: (40, 52), 4: (36, 46), 5: (32, 40), 6: (30, 36)}
"""Side of a sprite in pixels, (smallest, largest) by the number of sprites in the picture."""


@dataclass(frozen=True)
class Sprite:
    """One object in a picture: its top left corner and side, in pixels."""

    object: str
    x: int
    y: int
    size: int

    @property
    def center(self) -> tuple[float, float]:
        return self.x + self.size / 2, self.y + self.size / 2


@dataclass(frozen=True)
class DrawnScene:
    """A scene of the form "full", its picture and where each sprite stands.

    Attributes:
        scene: what was drawn; a negative of it shows something else.
        image: uint8, (128, 128, 3).
        sprites: those that are whole.
        malformed: those that are spoiled.
    """

    scene: Scene
    image: np.ndarray
    sprites: tuple[Sprite, ...]
    malformed: tuple[Sprite, ...] = ()

    @property
    def background(self) -> str:
        """A name in `BACKGROUNDS`.

        Raises:
            ValueError: for a scene that leaves it free, which cannot have been drawn.
        """
        if self.scene.background is None:
            raise ValueError(f"{self.scene.caption!r} has no background, so it is no scene of a picture")
        return self.scene.background

    def shows(self, asked: Scene) -> bool:
        """Whether a caption of any form is true of the picture; none is where a sprite is malformed."""
        counts: dict[str, int] = {}
        for sprite in self.sprites:
            counts[sprite.object] = counts.get(sprite.object, 0) + 1
        spots = [(sprite.object, *sprite.center) for sprite in self.sprites]
        return (
            not self.malformed
            and asked.counts_hold(counts)
            and asked.background_holds(self.background)
            and asked.relation_holds(spots) is not False
        )


@cache
def _cells() -> dict[str, np.ndarray]:
    """Each object as a centred square, premultiplied by its alpha: resizing does not bleed."""
    atlas = Image.open(ATLAS).convert("RGBA")
    cells = {}
    for i, name in enumerate(OBJECTS):
        x, y = i % _COLUMNS * _CELL, i // _COLUMNS * _CELL
        cell = atlas.crop((x, y, x + _CELL, y + _CELL))
        cell = cell.crop(cell.getbbox())
        side = max(cell.size)
        square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        square.paste(cell, ((side - cell.width) // 2, (side - cell.height) // 2))
        pixels = np.asarray(square).astype(np.float32) / 255
        pixels[..., :3] *= pixels[..., 3:]
        cells[name] = pixels
    return cells


@cache
def sprite_pixels(name: str, width: int, height: int | None = None) -> np.ndarray:
    """(height, width, 4), premultiplied RGBA in [0, 1]; a square where no height is given."""
    size = width, width if height is None else height
    channels = [
        np.asarray(Image.fromarray(_cells()[name][..., k]).resize(size, Image.Resampling.LANCZOS)) for k in range(4)
    ]
    return np.clip(np.stack(channels, -1), 0, 1)


def paste(canvas: np.ndarray, pixels: np.ndarray, x: int, y: int) -> None:
    """Lay premultiplied RGBA `pixels` over the float `canvas` (height, width, 3) at (x, y), in place."""
    height, width = pixels.shape[:2]
    area = canvas[y : y + height, x : x + width]
    area *= 1 - pixels[..., 3:]
    area += pixels[..., :3]


def _even(rng: np.random.Generator, low: int, high: int) -> int:
    return 2 * int(rng.integers(-(-low // 2), high // 2 + 1))


def _scatter(
    rng: np.random.Generator, count: int, box: tuple[int, int, int, int], sizes: tuple[int, int]
) -> tuple[int, list[tuple[int, int]]]:
    """Size and corners of `count` squares of one even size in `box` = (left, top, right, bottom), the gap between."""
    left, top, right, bottom = box
    while True:
        size = _even(rng, *sizes)
        xs = rng.integers(left, right - size + 1, 100).tolist()
        ys = rng.integers(top, bottom - size + 1, 100).tolist()
        reach = size + _GAP
        placed: list[tuple[int, int]] = []
        for x, y in zip(xs, ys, strict=True):
            if all(abs(x - a) >= reach or abs(y - b) >= reach for a, b in placed):
                placed.append((x, y))
                if len(placed) == count:
                    return size, placed


def _layout(rng: np.random.Generator, scene: Scene) -> list[tuple[str, int, int, int]]:
    names = [group.object for group in scene.groups for _ in range(group.count)]
    side = IMAGE_SIZE
    if scene.relation is None:
        size, corners = _scatter(rng, scene.total, (0, 0, side, side), _SIZES[min(scene.total, 6)])
        return [(name, x, y, size) for name, (x, y) in zip(names, corners, strict=True)]

    # The line between the two groups; drawn for "left of" and turned for "above".
    cut = int(rng.integers(54, 75))
    low, high = (44, 54) if scene.total == 2 else (36, 46)
    first, second = scene.groups
    size, corners = _scatter(rng, first.count, (0, 0, cut, side), (low, min(high, cut - 4, side - cut - 4)))
    _, others = _scatter(rng, second.count, (cut + 1, 0, side, side), (size, size))
    if scene.total == 2:  # roughly level
        y = int(np.clip(corners[0][1] + rng.integers(-24, 25), 0, side - size))
        others = [(others[0][0], y)]
    places = corners + others
    if scene.relation == "above":
        places = [(y, x) for x, y in places]
    return [(name, x, y, size) for name, (x, y) in zip(names, places, strict=True)]


def draw(rng: np.random.Generator, scene: Scene) -> DrawnScene:
    """Draw one picture of `scene`; the layout and the sizes are random.

    Raises:
        ValueError: for a scene that leaves something free, more than six sprites, or a relation between groups of more
            than two.
    """
    if scene.form != "full" or scene.background is None:
        raise ValueError(f"{scene.caption!r} leaves something free; draw what sample_true makes of it")
    if scene.total > 6 or (scene.relation and max(group.count for group in scene.groups) > 2):
        raise ValueError(
            f"{scene.caption!r} does not fit a picture: at most six sprites, and two on each side of a relation"
        )
    canvas = np.empty((IMAGE_SIZE, IMAGE_SIZE, 3), np.float32)
    canvas[:] = np.array(BACKGROUNDS[scene.background], np.float32) / 255
    sprites = tuple(Sprite(*place) for place in _layout(rng, scene))
    for sprite in sprites:
        paste(canvas, sprite_pixels(sprite.object, sprite.size), sprite.x, sprite.y)
    return DrawnScene(scene, (canvas * 255 + 0.5).clip(0, 255).astype(np.uint8), sprites)


def draw_batch(
    rng: np.random.Generator,
    count: int,
    kind: str | None = None,
    held_out: bool | None = None,
) -> tuple[np.ndarray, Sequence[DrawnScene]]:
    """Draw `count` random scenes: images (count, 128, 128, 3) uint8, and the scenes with their sprites."""
    drawn = [draw(rng, sample_scene(rng, kind, held_out)) for _ in range(count)]
    return np.stack([one.image for one in drawn]), drawn
