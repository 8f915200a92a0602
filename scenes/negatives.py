"""Sprites that are spoiled on purpose: what a generator draws when it fails, so that a judge can learn to say no.

Every spoiler takes premultiplied RGBA (size, size, 4) and returns pixels that a person would not count as that object.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from .draw import DrawnScene, Sprite, paste, sprite_pixels
from .grammar import BACKGROUNDS, OBJECTS

MIN_SHARE_CHANGED = 0.3
"""A spoiled sprite differs from the whole one on at least this share of its area."""

Spoiler = Callable[[np.random.Generator, np.ndarray, str], np.ndarray]


def _another(rng: np.random.Generator, name: str, size: int) -> np.ndarray:
    others = [other for other in OBJECTS if other != name]
    return sprite_pixels(others[rng.integers(len(others))], size)


def _half(rng: np.random.Generator, size: int, low: float = 0.35, high: float = 0.65) -> np.ndarray:
    """A mask (size, size) of one side of a random line near the middle."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return x * np.cos(angle) + y * np.sin(angle) > (rng.uniform(low, high) - 0.5) * size


def _smooth_noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """(size, size) in about [-1, 1], with `cells` bumps per side."""
    coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def cut(rng: np.random.Generator, pixels: np.ndarray, name: str) -> np.ndarray:
    """A third to two thirds of it is missing."""
    return pixels * ~_half(rng, len(pixels))[..., None]


def crossed(rng: np.random.Generator, pixels: np.ndarray, name: str) -> np.ndarray:
    """Half of it belongs to another object."""
    return np.where(_half(rng, len(pixels))[..., None], _another(rng, name, len(pixels)), pixels)


def blended(rng: np.random.Generator, pixels: np.ndarray, name: str) -> np.ndarray:
    """Shines through another object."""
    share = rng.uniform(0.35, 0.65)
    return share * pixels + (1 - share) * _another(rng, name, len(pixels))


def washed(rng: np.random.Generator, pixels: np.ndarray, name: str) -> np.ndarray:
    """Faint."""
    return pixels * rng.uniform(0.2, 0.45)


def noised(rng: np.random.Generator, pixels: np.ndarray, name: str) -> np.ndarray:
    """Half drowned in blotches of colour."""
    size = len(pixels)
    blotches = np.stack([_smooth_noise(rng, size, max(3, size // 5)) for _ in range(3)], -1)
    share = rng.uniform(0.5, 0.75)
    spoiled = pixels.copy()
    spoiled[..., :3] = ((1 - share) * pixels[..., :3] + share * (0.5 + blotches) * pixels[..., 3:]).clip(0, 1)
    return spoiled


def warped(rng: np.random.Generator, pixels: np.ndarray, name: str) -> np.ndarray:
    """Melted by a smooth displacement of a fifth of its size or more."""
    size = len(pixels)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    reach = rng.uniform(0.22, 0.38) * size
    rows = (y + reach * _smooth_noise(rng, size, 4)).round().astype(int)
    columns = (x + reach * _smooth_noise(rng, size, 4)).round().astype(int)
    inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
    return pixels[rows.clip(0, size - 1), columns.clip(0, size - 1)] * inside[..., None]


def shuffled(rng: np.random.Generator, pixels: np.ndarray, name: str) -> np.ndarray:
    """Its quarters stand in wrong places."""
    half = len(pixels) // 2
    quarters = [pixels[r : r + half, c : c + half] for r in (0, half) for c in (0, half)]
    order = rng.permutation(4)
    while (order == np.arange(4)).sum() > 1:
        order = rng.permutation(4)
    spoiled = pixels.copy()
    for k, source in enumerate(order):
        r, c = k // 2 * half, k % 2 * half
        spoiled[r : r + half, c : c + half] = quarters[source]
    return spoiled


def doubled(rng: np.random.Generator, pixels: np.ndarray, name: str) -> np.ndarray:
    """Grown together with a copy of itself that is shifted by a quarter to a half."""
    size = len(pixels)
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.5) * size
    dx, dy = int(reach * np.cos(angle)), int(reach * np.sin(angle))
    copy = np.zeros_like(pixels)
    copy[max(dy, 0) : size + min(dy, 0), max(dx, 0) : size + min(dx, 0)] = pixels[
        max(-dy, 0) : size + min(-dy, 0), max(-dx, 0) : size + min(-dx, 0)
    ]
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    side = x * np.cos(angle) + y * np.sin(angle) > rng.uniform(-0.1, 0.1) * size
    over = side[..., None] * copy  # the copy lies over the half that it moved to: neither is whole
    return pixels * (1 - over[..., 3:]) + over


def fragment(rng: np.random.Generator, pixels: np.ndarray, name: str) -> np.ndarray:
    """Little of it is left."""
    size = len(pixels)
    y, x = np.mgrid[:size, :size]
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.3) * size
    cx, cy = size / 2 + reach * np.cos(angle), size / 2 + reach * np.sin(angle)
    kept = (x - cx) ** 2 + (y - cy) ** 2 < (rng.uniform(0.18, 0.32) * size) ** 2
    return pixels * kept[..., None]


def stretched(rng: np.random.Generator, pixels: np.ndarray, name: str) -> np.ndarray:
    """Pulled to a band, twice as long as it is wide or more."""
    size = len(pixels)
    share = rng.uniform(0.35, 0.55)
    across = (np.arange(size) - (size - 1) / 2) / share + (size - 1) / 2
    inside = (across >= 0) & (across <= size - 1)
    index = across.round().astype(int).clip(0, size - 1)
    if rng.random() < 0.5:
        return pixels[index] * inside[:, None, None]
    return pixels[:, index] * inside[None, :, None]


SPOILERS: dict[str, Spoiler] = {
    spoiler.__name__: spoiler
    for spoiler in (cut, crossed, blended, washed, noised, warped, shuffled, doubled, fragment, stretched)
}


def spoil(rng: np.random.Generator, drawn: DrawnScene, how: str | None = None) -> DrawnScene:
    """Spoil one sprite of a picture; the returned `sprites` are those that are still whole.

    Args:
        rng: source of randomness.
        drawn: the picture, with a whole sprite at least; it is not changed.
        how: a name in `SPOILERS`; None draws one.
    """
    victim = drawn.sprites[rng.integers(len(drawn.sprites))]
    pixels = sprite_pixels(victim.object, victim.size)
    while True:
        spoiler = SPOILERS[how or list(SPOILERS)[rng.integers(len(SPOILERS))]]
        spoiled = spoiler(rng, pixels, victim.object)
        if _share_changed(pixels, spoiled) >= MIN_SHARE_CHANGED:
            break
    canvas = _without(drawn, victim)
    paste(canvas, spoiled, victim.x, victim.y)
    return _replaced(drawn, canvas, victim, malformed=(victim,))


def merge(rng: np.random.Generator, drawn: DrawnScene) -> DrawnScene:
    """Let a sprite run into another: a second one, of its object or of any, stands half over one that was there.

    Both are malformed then, as one: what a generator draws where two sprites meet.
    """
    victim = drawn.sprites[rng.integers(len(drawn.sprites))]
    size = victim.size
    name = victim.object if rng.random() < 0.6 else OBJECTS[rng.integers(len(OBJECTS))]
    angle, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.7) * size
    room = len(drawn.image) - size
    x, y = (
        int(np.clip(start + reach * turn(angle), 0, room)) for start, turn in ((victim.x, np.cos), (victim.y, np.sin))
    )
    others = [sprite for sprite in drawn.sprites if sprite is not victim]
    touches = any(abs(x - s.x) < size and abs(y - s.y) < size for s in others)
    if touches or max(abs(x - victim.x), abs(y - victim.y)) < 0.3 * size:
        return spoil(rng, drawn)
    canvas = drawn.image.astype(np.float32) / 255
    area = (slice(y, y + size), slice(x, x + size))
    laid = canvas.copy()
    paste(laid, sprite_pixels(name, size), x, y)
    # Where they meet neither lies on top: a smooth seam wanders between the two.
    seam = (_smooth_noise(rng, size, 4) * 2 + rng.uniform(0, 1)).clip(0, 1)[..., None]
    meets = np.zeros((*canvas.shape[:2], 1), np.float32)
    meets[victim.y : victim.y + size, victim.x : victim.x + size] = 1
    share = np.where(meets[area] > 0, seam, 1.0)
    canvas[area] = share * laid[area] + (1 - share) * canvas[area]
    middle = Sprite(victim.object, (victim.x + x) // 2, (victim.y + y) // 2, size)
    return _replaced(drawn, canvas, victim, malformed=(middle,))


def _share_changed(pixels: np.ndarray, spoiled: np.ndarray) -> float:
    """Pixels that differ plainly, as a share of those that the sprite covers."""
    return float((np.abs(spoiled - pixels).max(-1) > 0.2).sum() / (pixels[..., 3] > 0.5).sum())


def remove(rng: np.random.Generator, drawn: DrawnScene) -> DrawnScene:
    """Take one sprite away."""
    victim = drawn.sprites[rng.integers(len(drawn.sprites))]
    return _replaced(drawn, _without(drawn, victim), victim)


def swap(rng: np.random.Generator, drawn: DrawnScene) -> DrawnScene:
    """Put another object in the place of one sprite."""
    victim = drawn.sprites[rng.integers(len(drawn.sprites))]
    others = [name for name in OBJECTS if name not in drawn.scene.counts]
    other = Sprite(others[rng.integers(len(others))], victim.x, victim.y, victim.size)
    canvas = _without(drawn, victim)
    paste(canvas, sprite_pixels(other.object, other.size), other.x, other.y)
    changed = _replaced(drawn, canvas, victim)
    return DrawnScene(drawn.scene, changed.image, (*changed.sprites, other), drawn.malformed)


def add(rng: np.random.Generator, drawn: DrawnScene, tries: int = 40) -> DrawnScene | None:
    """Draw one more sprite of an object that is there already; None where no place for it was found."""
    model = drawn.sprites[rng.integers(len(drawn.sprites))]
    size, room = model.size, len(drawn.image) - model.size
    for x, y in rng.integers(0, room + 1, (tries, 2)).tolist():
        if all(abs(x - s.x) >= size + 1 or abs(y - s.y) >= size + 1 for s in (*drawn.sprites, *drawn.malformed)):
            extra = Sprite(model.object, x, y, size)
            canvas = drawn.image.astype(np.float32) / 255
            paste(canvas, sprite_pixels(extra.object, size), x, y)
            return DrawnScene(drawn.scene, _to_uint8(canvas), (*drawn.sprites, extra), drawn.malformed)
    return None


def _without(drawn: DrawnScene, victim: Sprite) -> np.ndarray:
    canvas = drawn.image.astype(np.float32) / 255
    area = (slice(victim.y, victim.y + victim.size), slice(victim.x, victim.x + victim.size))
    canvas[area] = np.array(BACKGROUNDS[drawn.background], np.float32) / 255
    return canvas


def _replaced(drawn: DrawnScene, canvas: np.ndarray, victim: Sprite, malformed: tuple[Sprite, ...] = ()) -> DrawnScene:
    whole = tuple(sprite for sprite in drawn.sprites if sprite is not victim)
    return DrawnScene(drawn.scene, _to_uint8(canvas), whole, (*drawn.malformed, *malformed))


def _to_uint8(canvas: np.ndarray) -> np.ndarray:
    return (canvas * 255 + 0.5).clip(0, 255).astype(np.uint8)
