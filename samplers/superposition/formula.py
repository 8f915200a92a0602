"""Formulas over prompts: `Prompt("with a cat") & Prompt("with a dog") | ~Prompt("on blue")`.

`~` binds closest, then `&`, then `|`, as in Python. What a formula means for densities is in `dombi.py`; its text,
which `str` gives and `parser.py` reads, is the same formula: `"with a cat" & "with a dog" | ~"on blue"`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


class Formula:
    """A prompt, or prompts joined by `&` (both), `|` (either) and `~` (not)."""

    binds: int = 3
    """How close its parts are bound: those of a looser one stand in brackets."""

    def __and__(self, other: Formula) -> Formula:
        return And.of(self, other)

    def __or__(self, other: Formula) -> Formula:
        return Or.of(self, other)

    def __invert__(self) -> Formula:
        return Not(self)

    def prompts(self) -> list[str]:
        """The prompts that it is about, each once, in the order of their first appearance."""
        return list(dict.fromkeys(self._leaves()))

    def holds(self, truths: Mapping[str, bool]) -> bool:
        """Whether it is true of an image.

        Args:
            truths: whether each prompt is, by its text.
        """
        raise NotImplementedError

    def affirmed(self) -> list[str]:
        """The prompts that are not under a NOT (or under two), each once."""
        return list(dict.fromkeys(self._signed(True)))

    @property
    def needs_reference(self) -> bool:
        """Whether it says NOT, which is relative to the unconditional density."""
        return False

    def _signed(self, affirmed: bool) -> Iterator[str]:
        raise NotImplementedError

    def _leaves(self) -> Iterator[str]:
        raise NotImplementedError

    def _within(self, other: Formula) -> str:
        return f"({self})" if self.binds < other.binds else str(self)


@dataclass(frozen=True)
class Prompt(Formula):
    """What one prompt describes."""

    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise ValueError(f"a prompt is a text, not {self.text!r}")

    def __str__(self) -> str:
        return json.dumps(self.text, ensure_ascii=False)

    def holds(self, truths: Mapping[str, bool]) -> bool:
        return truths[self.text]

    def _signed(self, affirmed: bool) -> Iterator[str]:
        if affirmed:
            yield self.text

    def _leaves(self) -> Iterator[str]:
        yield self.text


@dataclass(frozen=True)
class _Joined(Formula):
    parts: tuple[Formula, ...]

    sign = ""

    @classmethod
    def of(cls, *parts: Formula) -> Formula:
        """Join formulas; those that are joined in the same way are taken apart, which changes nothing.

        Raises:
            ValueError: for what is no formula.
        """
        flat: list[Formula] = []
        for part in parts:
            if not isinstance(part, Formula):
                raise ValueError(f"{part!r} is no formula; write Prompt({part!r})")
            flat.extend(part.parts if type(part) is cls else [part])
        return flat[0] if len(flat) == 1 else cls(tuple(flat))

    @property
    def needs_reference(self) -> bool:
        return any(part.needs_reference for part in self.parts)

    def _signed(self, affirmed: bool) -> Iterator[str]:
        for part in self.parts:
            yield from part._signed(affirmed)

    def __str__(self) -> str:
        return f" {self.sign} ".join(part._within(self) for part in self.parts)

    def _leaves(self) -> Iterator[str]:
        for part in self.parts:
            yield from part._leaves()


class And(_Joined):
    """All of the parts."""

    binds, sign = 1, "&"

    def holds(self, truths: Mapping[str, bool]) -> bool:
        return all(part.holds(truths) for part in self.parts)


class Or(_Joined):
    """At least one of the parts."""

    binds, sign = 0, "|"

    def holds(self, truths: Mapping[str, bool]) -> bool:
        return any(part.holds(truths) for part in self.parts)


@dataclass(frozen=True)
class Not(Formula):
    """What the part makes less likely than the reference does."""

    part: Formula

    binds = 2

    @property
    def needs_reference(self) -> bool:
        return True

    def holds(self, truths: Mapping[str, bool]) -> bool:
        return not self.part.holds(truths)

    def _signed(self, affirmed: bool) -> Iterator[str]:
        yield from self.part._signed(not affirmed)

    def __str__(self) -> str:
        return f"~{self.part._within(self)}"

    def _leaves(self) -> Iterator[str]:
        yield from self.part._leaves()
