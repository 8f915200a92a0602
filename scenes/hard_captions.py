"""Captions that are nearly right: the same objects with other counts, another relation or order, another background."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np

from .grammar import BACKGROUNDS, MAX_COUNT, RELATIONS, Group, Scene


@cache
def _alternatives(scene: Scene) -> tuple[Scene, ...]:
    """Wrong scenes of the same objects on the same background; none of them is true of a picture of `scene`."""
    names = [group.object for group in scene.groups]
    most = 2 if scene.relation else MAX_COUNT
    countings = [c for c in product(range(1, most + 1), repeat=len(names)) if sum(c) <= MAX_COUNT]
    by_counts = [
        replace(scene, groups=tuple(Group(c, name) for c, name in zip(counts, names, strict=True)))
        for counts in countings
    ]
    if scene.relation is None:
        return tuple(other for other in by_counts if other != scene)
    turned = [
        replace(other, groups=groups, relation=relation)
        for other in by_counts
        for groups in (other.groups, other.groups[::-1])
        for relation in RELATIONS
    ]
    return tuple(other for other in turned if other != scene)


def hard_captions(rng: np.random.Generator, scene: Scene, count: int) -> list[str]:
    """`count` wrong captions of the same objects; other backgrounds only where the counts and relations run out."""
    near = list(_alternatives(scene))
    chosen = [near[i] for i in rng.permutation(len(near))[:count]]
    others = [name for name in BACKGROUNDS if name != scene.background]
    far = [replace(other, background=name) for other in (scene, *near) for name in others]
    missing = count - len(chosen)
    chosen += [far[i] for i in rng.permutation(len(far))[:missing]]
    return [other.caption for other in chosen]
