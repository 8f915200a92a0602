"""The distribution of the scenes that the shipped models are trained on, and the combinations that they never see."""

from __future__ import annotations

import zlib

import numpy as np

from .grammar import BACKGROUNDS, KINDS, OBJECTS, Group, Scene

KIND_SHARES = (0.32, 0.12, 0.10, 0.10, 0.16, 0.10, 0.05, 0.05)
"""Share of each of `KINDS` in a draw."""

_MIXED = ((1, 2), (2, 1), (1, 3), (3, 1), (2, 2), (2, 3), (3, 2))
_COUNTED = ((1, 2), (2, 1), (2, 2))
_HELD_OUT_ONE_IN = 20


def is_held_out(scene: Scene) -> bool:
    """Whether any (object, count, background) of the scene is among the twentieth that training never shows."""
    return any(
        zlib.crc32(f"{group.count} {group.object} {scene.background}".encode()) % _HELD_OUT_ONE_IN == 0
        for group in scene.groups
    )


def sample_scene(rng: np.random.Generator, kind: str | None = None, held_out: bool | None = None) -> Scene:
    """Draw a scene.

    Args:
        rng: source of randomness.
        kind: one of `KINDS`; None draws it by `KIND_SHARES`.
        held_out: True for scenes with a held-out combination only, False for scenes without, None for either.
    """
    while True:
        scene = _sample_any(rng, kind or str(rng.choice(KINDS, p=KIND_SHARES)))
        if held_out is None or is_held_out(scene) == held_out:
            return scene


def _sample_any(rng: np.random.Generator, kind: str) -> Scene:
    names = [OBJECTS[i] for i in rng.choice(len(OBJECTS), 3, replace=False)]
    relation = {"left": "left of", "above": "above"}.get(kind.removeprefix("counted-"))
    match kind:
        case "count":
            counts = (int(rng.integers(1, 7)),)
        case "triple":
            counts = (1, 1, 1)
        case "mixed":
            counts = _MIXED[rng.integers(len(_MIXED))]
        case "counted-left" | "counted-above":
            counts = _COUNTED[rng.integers(len(_COUNTED))]
        case _:
            counts = (1, 1)
    groups = tuple(Group(count, name) for count, name in zip(counts, names, strict=False))
    return Scene(groups, list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))], relation)
