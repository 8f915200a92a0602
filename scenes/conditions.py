"""Conditions over captions: both, either, not; whether they hold for a scene, and scenes for which they do.

`Both((parse("with a cat"), parse("with a dog")))` is the truth that a superposition of two prompts is held against.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .grammar import Scene
from .sampling import probability, sample_scene, sample_true

TRIES = 20_000


@dataclass(frozen=True)
class Both:
    """All of the parts hold."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Either:
    """At least one of the parts holds."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """The part does not hold."""

    part: Condition


Condition = Scene | Both | Either | Not


def holds(condition: Condition, scene: Scene) -> bool:
    """Whether a condition holds for a full scene by its words.

    Of a relation only the one that the scene itself states is known: where two objects happen to stand is a matter of
    the picture (`DrawnScene.shows`).
    """
    match condition:
        case Both(parts):
            return all(holds(part, scene) for part in parts)
        case Either(parts):
            return any(holds(part, scene) for part in parts)
        case Not(part):
            return not holds(part, scene)
    if not condition.counts_hold(scene.counts) or not condition.background_holds(scene.background):
        return False
    return condition.relation is None or (condition.relation, condition.groups) == (scene.relation, scene.groups)


def merged(a: Scene, b: Scene) -> Scene | None:
    """The open caption that says what both say, or the narrower of the two; None for a contradiction."""
    if None not in (a.background, b.background) and a.background != b.background:
        return None
    if any(b.counts.get(name, count) != count for name, count in a.counts.items()):
        return None
    background = a.background or b.background
    if not a.open or not b.open or a.relation or b.relation:
        narrower = min((a, b), key=lambda one: (one.open, probability(one)))
        return replace(narrower, background=background)
    groups = a.groups + tuple(group for group in b.groups if group.object not in a.counts)
    return Scene(groups, background, open=True)


def sample_where(rng: np.random.Generator, condition: Condition) -> Scene:
    """Draw a full scene from the prior, given that a condition holds.

    Raises:
        ValueError: where no scene was found.
    """
    terms = [term for term in _terms(condition, wanted=True) if term is not None]
    shares = np.array([1.0 if term.proposal is None else probability(term.proposal) for term in terms])
    if shares.sum():
        for _ in range(TRIES):
            term = terms[rng.choice(len(terms), p=shares / shares.sum())]
            scene = sample_scene(rng) if term.proposal is None else sample_true(rng, term.proposal)
            # A scene that several terms propose comes up as often for each: take it once.
            rivals = sum(other.holds(scene) for other in terms)
            if term.holds(scene) and rng.random() * rivals < 1:
                return scene
    raise ValueError(f"no scene was found for which {condition} holds; do its parts contradict each other?")


@dataclass(frozen=True)
class _Term:
    """A conjunction: captions that hold, and captions that do not; `proposal` is one that the former imply."""

    true: tuple[Scene, ...] = ()
    false: tuple[Scene, ...] = ()
    proposal: Scene | None = None

    def holds(self, scene: Scene) -> bool:
        return all(holds(one, scene) for one in self.true) and not any(holds(one, scene) for one in self.false)


def _terms(condition: Condition, wanted: bool) -> list[_Term | None]:
    """The condition, or its negation, as a disjunction of terms; None is one that cannot hold."""
    match condition:
        case Not(part):
            return _terms(part, not wanted)
        case Both(parts) | Either(parts):
            by_part = [_terms(part, wanted) for part in parts]
            if isinstance(condition, Either) == wanted:
                return [term for terms in by_part for term in terms]
            joined: list[_Term | None] = [_Term()]
            for terms in by_part:
                joined = [_joined(a, b) for a in joined for b in terms]
            return joined
    return [_Term(true=(condition,), proposal=condition) if wanted else _Term(false=(condition,))]


def _joined(a: _Term | None, b: _Term | None) -> _Term | None:
    if a is None or b is None:
        return None
    proposal = a.proposal or b.proposal
    if a.proposal is not None and b.proposal is not None:
        proposal = merged(a.proposal, b.proposal)
        if proposal is None:
            return None
    return _Term(a.true + b.true, a.false + b.false, proposal)
