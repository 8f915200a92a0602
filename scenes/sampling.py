"""The distribution of the scenes that the shipped models are trained on, and the combinations that they never see.

A picture is a scene of the form "full". `sample_scene` draws one from the prior; `sample_true` draws from that prior
given a caption of any form, exactly, as the prior has few structures; `sample_description` writes a caption of a scene.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import permutations
from math import factorial, perm

import numpy as np

from .grammar import BACKGROUNDS, KINDS, OBJECTS, Group, Scene

KIND_SHARES = (0.32, 0.12, 0.10, 0.10, 0.16, 0.10, 0.05, 0.05)
"""Share of each of `KINDS` in a draw."""

_MIXED = ((1, 2), (2, 1), (1, 3), (3, 1), (2, 2), (2, 3), (3, 2))
_COUNTED = ((1, 2), (2, 1), (2, 2))
_COUNTS = {
    "count": tuple((count,) for count in range(1, 7)),
    "pair": ((1, 1),),
    "left": ((1, 1),),
    "above": ((1, 1),),
    "mixed": _MIXED,
    "triple": ((1, 1, 1),),
    "counted-left": _COUNTED,
    "counted-above": _COUNTED,
}
"""Numbers of sprites of the groups of each kind, all alike probable."""
_HELD_OUT_ONE_IN = 20


def is_held_out(scene: Scene) -> bool:
    """Whether any (object, count, background) of the scene is among the twentieth that training never shows."""
    return any(
        zlib.crc32(f"{group.count} {group.object} {scene.background}".encode()) % _HELD_OUT_ONE_IN == 0
        for group in scene.groups
    )


def sample_scene(rng: np.random.Generator, kind: str | None = None, held_out: bool | None = None) -> Scene:
    """Draw a scene of the form "full".

    Args:
        rng: source of randomness.
        kind: one of `KINDS`; None draws it by `KIND_SHARES`.
        held_out: True for scenes with a held-out combination only, False for scenes without, None for either.
    """
    while True:
        scene = _sample_any(rng, kind or str(rng.choice(KINDS, p=KIND_SHARES)))
        if held_out is None or is_held_out(scene) == held_out:
            return scene


def _relation(kind: str) -> str | None:
    return {"left": "left of", "above": "above"}.get(kind.removeprefix("counted-"))


def _sample_any(rng: np.random.Generator, kind: str) -> Scene:
    names = [OBJECTS[i] for i in rng.choice(len(OBJECTS), 3, replace=False)]
    counts = _COUNTS[kind]
    # A kind with one structure draws nothing: seeds keep the scenes that they have had from the first.
    chosen = counts[rng.integers(len(counts))] if len(counts) > 1 else counts[0]
    groups = tuple(Group(int(count), name) for count, name in zip(chosen, names, strict=False))
    return Scene(groups, list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))], _relation(kind))


@cache
def _structures() -> tuple[tuple[float, tuple[int, ...], str | None], ...]:
    """All (probability, numbers of sprites, relation) of the prior."""
    return tuple(
        (share / len(_COUNTS[kind]), counts, _relation(kind))
        for kind, share in zip(KINDS, KIND_SHARES, strict=True)
        for counts in _COUNTS[kind]
    )


def _fits(asked: Scene) -> Iterator[tuple[float, tuple[int, ...], str | None, tuple[int, ...]]]:
    """Structures in which a caption is true, and the places of its groups in them, with their prior probability."""
    wanted = [group.count for group in asked.groups]
    for probability, counts, relation in _structures():
        if asked.relation not in (None, relation) or (not asked.open and len(counts) != len(wanted)):
            continue
        for places in permutations(range(len(counts)), len(wanted)):
            if asked.relation and places != (0, 1):
                continue
            if all(counts[place] == count for place, count in zip(places, wanted, strict=True)):
                yield probability / perm(len(OBJECTS), len(wanted)), counts, relation, places


def probability(asked: Scene) -> float:
    """Share of the prior's scenes of which a caption is true by its words; 0 where it never draws one."""
    share = sum(weight for weight, *_ in _fits(asked))
    return share if asked.background is None else share / len(BACKGROUNDS)


def sample_true(rng: np.random.Generator, asked: Scene) -> Scene:
    """Draw a full scene of which a caption of any form is true, from the prior given that it is.

    Of two objects without a relation those scenes are true too that were drawn with one. A caption that is not open and
    that the prior never draws ("five cats and a dog") stands for itself, on a random background where none is named.

    Raises:
        ValueError: for an open caption that no scene of the prior shows.
    """
    background = asked.background or list(BACKGROUNDS)[rng.integers(len(BACKGROUNDS))]
    fits = list(_fits(asked))
    if not fits and not asked.open:
        return replace(asked, background=background)
    if not fits:
        raise ValueError(f"no scene shows {asked.caption!r}: it names more than pictures hold")
    weights = np.array([weight for weight, *_ in fits])
    _, counts, relation, places = fits[rng.choice(len(fits), p=weights / weights.sum())]
    named = {place: group.object for place, group in zip(places, asked.groups, strict=True)}
    others = [name for name in OBJECTS if name not in asked.counts]
    spare = iter(rng.permutation(len(others))[: len(counts) - len(named)].tolist())
    names = [named[place] if place in named else others[next(spare)] for place in range(len(counts))]
    groups = tuple(Group(count, name) for count, name in zip(counts, names, strict=True))
    return Scene(groups, background, relation)


BACKGROUND_ONLY, ANY_BACKGROUND = 0.03, 0.06
NAMED = {1: 0.08, 2: 0.05, 3: 0.05}
"""How probable each true open caption of so many groups is, in any order: the same in every scene that it is true of.
So a model that learns from these captions draws `sample_true` of them, and not scenes with few groups too often."""
RELATED = 0.05
ON_BACKGROUND = 0.25
"""Share of the open captions that name the background too."""


def sample_description(rng: np.random.Generator, scene: Scene) -> Scene:
    """A true caption of a full scene: its own in about three cases of four, else one that leaves something free."""
    parts = [
        (BACKGROUND_ONLY, Scene((), scene.background, open=True)),
        (ANY_BACKGROUND, replace(scene, background=None)),
    ]
    for number in range(1, len(scene.groups) + 1):
        ordered = list(permutations(scene.groups, number))
        parts += [(NAMED[number] / factorial(number), Scene(groups, None, open=True)) for groups in ordered]
    if scene.relation:
        parts.append((RELATED, replace(scene, background=None, open=True)))
    weights = np.array([weight for weight, _ in parts])
    chosen = rng.choice(len(parts) + 1, p=[*weights, 1 - weights.sum()])
    if chosen == len(parts):
        return scene
    part = parts[chosen][1]
    if part.form == "open" and rng.random() < ON_BACKGROUND:
        return replace(part, background=scene.background)
    return part
