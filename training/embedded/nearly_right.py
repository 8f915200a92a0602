"""Scenes to compare, and pictures of them that are nearly right."""

from __future__ import annotations

import numpy as np

from ... import scenes
from ...scenes import DrawnScene, Scene, negatives


def unique_scenes(rng: np.random.Generator, count: int, held_out: bool | None) -> list[DrawnScene]:
    """Random scenes, drawn, of which no two have the same caption.

    Args:
        rng: of the scenes and their drawing.
        count: of scenes.
        held_out: whether they are those that training never shows; None: both.
    """
    drawn: dict[str, DrawnScene] = {}
    while len(drawn) < count:
        scene = scenes.sample_scene(rng, held_out=held_out)
        if scene.caption not in drawn:
            drawn[scene.caption] = scenes.draw(rng, scene)
    return list(drawn.values())


def nearly_right(rng: np.random.Generator, drawn: DrawnScene, caption: Scene | None = None) -> DrawnScene:
    """A picture of which a caption, by default the scene's own, is not true any more."""
    changed = _changed(rng, drawn)
    while changed.shows(caption or drawn.scene):  # what an open caption does not name may come and go
        changed = _changed(rng, drawn)
    return changed


def _changed(rng: np.random.Generator, drawn: DrawnScene) -> DrawnScene:
    chance = rng.random()
    if chance < 0.4:
        return negatives.spoil(rng, drawn)
    if chance < 0.55:
        return negatives.merge(rng, drawn)
    if chance < 0.65:
        return negatives.remove(rng, drawn)
    if chance < 0.75:
        return negatives.swap(rng, drawn)
    return negatives.add(rng, drawn) or negatives.spoil(rng, drawn)
