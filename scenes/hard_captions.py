"""Captions that are nearly right: the same objects with other counts, another relation or order, another background."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np

from .draw import DrawnScene
from .grammar import BACKGROUNDS, MAX_COUNT, RELATIONS, Group, Scene


@cache
def _alternatives(scene: Scene) -> tuple[Scene, ...]:
    """The same objects on the same background with other counts or, where there is a relation, another one."""
    names = [group.object for group in scene.groups]
    most = 2 if scene.relation else MAX_COUNT
    if not names:
        return ()
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


def hard_captions(rng: np.random.Generator, scene: Scene, count: int, picture: DrawnScene | None = None) -> list[str]:
    """Wrong captions of the same objects; other backgrounds only where the counts and relations run out.

    Args:
        rng: source of randomness.
        scene: the true caption, of any form.
        count: of the captions; fewer where there are no more.
        picture: captions that are true of it are left out; of a relation, another one may happen to hold too.
    """
    near = list(_alternatives(scene))
    turned = (scene, *near) if scene.background is not None else near
    others = [name for name in BACKGROUNDS if name != scene.background]
    far = [replace(other, background=name) for other in turned for name in others]
    ordered = [near[i] for i in rng.permutation(len(near))] + [far[i] for i in rng.permutation(len(far))]
    if picture is not None:
        ordered = [other for other in ordered if not picture.shows(other)]
    return [other.caption for other in ordered[:count]]
