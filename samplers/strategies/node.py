"""What a candidate is: a seed, and the path from its noise. Nothing else decides it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple


class Turn(NamedTuple):
    """An initial noise, turned towards the noise of a seed (`samplers.noise.rotate`).

    Attributes:
        towards: the seed.
        angle: radians.
    """

    towards: int
    angle: float


class Noise(NamedTuple):
    """Another noise in the stochastic steps from here on, that which the parent left to be made the first of them.

    Behind a `Renoise` it begins with the step that is made next there.

    Attributes:
        key: 0 is the noise of a node without such a move.
    """

    key: int


class Renoise(NamedTuple):
    """Back to a noisier step, by fresh noise (Ma et al., arXiv 2501.09732, "search over paths").

    Attributes:
        to_step: where the node stands then.
        key: of the noise.
    """

    to_step: int
    key: int


Move = Turn | Noise | Renoise

_MOVES: dict[str, type[Move]] = {"turn": Turn, "noise": Noise, "renoise": Renoise}


@dataclass(frozen=True)
class Leg:
    """Steps [start, stop) of a run, and the moves before them.

    Attributes:
        start: the step at which it begins.
        stop: the step before which it ends; None for the end of the run.
        moves: in their order.
    """

    start: int = 0
    stop: int | None = None
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True)
class Node:
    """A point that a search can evaluate and go on from.

    Attributes:
        seed: the pipeline's own noise for this seed is where the path begins.
        legs: the path.
    """

    seed: int
    legs: tuple[Leg, ...] = (Leg(),)

    @classmethod
    def draw(cls, seed: int, *turns: Turn, stop: int | None = None) -> Node:
        """A node whose path begins at a seed's noise, turned or not.

        Args:
            seed: of the noise.
            turns: moves of the noise.
            stop: the step before which it is scored; None for a whole run.
        """
        return cls(seed, (Leg(0, stop, turns),))

    def child(self, *moves: Noise | Renoise, stop: int | None = None) -> Node:
        """A node that goes on from where this one stands.

        Args:
            moves: made first.
            stop: the step before which it is scored; None for the end of the run.

        Raises:
            ValueError: for a node that is finished, a child without steps, or one that goes back to a later step.
        """
        if self.stop is None:
            raise ValueError("a finished node has no steps left; go on from its parent, or begin a new one")
        start = self.stop
        for move in moves:
            if isinstance(move, Renoise):
                if move.to_step >= start:
                    raise ValueError(f"the node stands at step {start} and cannot go back to step {move.to_step}")
                start = move.to_step
        if start < 0 or (stop is not None and stop <= start):
            raise ValueError(f"a child of steps [{start}, {stop}) makes none; give 0 <= start < stop")
        return Node(self.seed, (*self.legs, Leg(start, stop, moves)))

    @property
    def parent(self) -> Node | None:
        """Where it goes on from; None where it begins at a seed's noise."""
        return Node(self.seed, self.legs[:-1]) if len(self.legs) > 1 else None

    @property
    def start(self) -> int:
        """Step at which its last leg begins."""
        return self.legs[-1].start

    @property
    def stop(self) -> int | None:
        """Step before which it stands; None at the end of the run."""
        return self.legs[-1].stop

    @property
    def finished(self) -> bool:
        """Whether the run was made to its end."""
        return self.stop is None

    @property
    def goes_back(self) -> bool:
        """Whether its last leg begins at a noisier step than its parent stands at."""
        return any(isinstance(move, Renoise) for move in self.moves)

    @property
    def moves(self) -> tuple[Move, ...]:
        """Those of its last leg."""
        return self.legs[-1].moves

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Moves of its initial noise."""
        return tuple(move for move in self.legs[0].moves if isinstance(move, Turn))

    @property
    def is_plain(self) -> bool:
        """Whether the plain pipeline makes it from its seed and turns: it drew no other noise and never went back."""
        return all(isinstance(move, Turn) for leg in self.legs for move in leg.moves)

    @property
    def noise_key(self) -> int:
        """Key of the noise of its steps: that of the last `Noise` of its path."""
        keys = [move.key for leg in self.legs for move in leg.moves if isinstance(move, Noise)]
        return keys[-1] if keys else 0

    def whole(self) -> Node:
        """The node that goes this path to the end of the run."""
        *before, last = self.legs
        return Node(self.seed, (*before, replace(last, stop=None)))

    @cached_property
    def id(self) -> str:
        """16 digits that follow from its content."""
        return hashlib.sha256(json.dumps([self.seed, self.legs_json()]).encode()).hexdigest()[:16]

    def legs_json(self) -> list[dict[str, Any]]:
        """The path as JSON."""
        return [
            {"start": leg.start, "stop": leg.stop, "moves": [[_name(move), *move] for move in leg.moves]}
            for leg in self.legs
        ]

    @classmethod
    def from_json(cls, seed: int, legs: Sequence[Mapping[str, Any]]) -> Node:
        """The inverse of `legs_json`.

        Raises:
            KeyError, TypeError, ValueError: for what is no path.
        """
        return cls(
            int(seed),
            tuple(
                Leg(leg["start"], leg["stop"], tuple(_MOVES[name](*values) for name, *values in leg["moves"]))
                for leg in legs
            ),
        )


def _name(move: Move) -> str:
    return next(name for name, kind in _MOVES.items() if isinstance(move, kind))
