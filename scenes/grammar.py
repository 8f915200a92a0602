"""The language of the scenes: captions such as "two cats and three stars on blue", both ways.

Grammar: `[with] GROUP [RELATION GROUP | and GROUP [and GROUP]] [on BACKGROUND]`, or `on BACKGROUND` alone, where a
group is a number and an object ("a cat", "three stars", "3 stars") and a relation is "left of" or "above". What a
caption leaves out is free: without a background any will do, and with "with" in front, or with no group at all, so are
objects that are not named.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

OBJECTS = (
    "cat", "dog", "frog", "panda", "fish", "turtle",
    "butterfly", "penguin", "tree", "sunflower", "mushroom", "apple",
    "banana", "pizza", "car", "boat", "rocket", "bicycle",
    "house", "ball", "umbrella", "star", "heart", "robot",
)  # fmt: skip
"""The 24 objects, in the order of the atlas (six per row)."""

PLURALS = {name: name + "s" for name in OBJECTS} | {"fish": "fish", "butterfly": "butterflies"}

BACKGROUNDS = {
    "pink": (255, 170, 200),
    "blue": (90, 150, 240),
    "green": (120, 200, 110),
    "yellow": (255, 235, 120),
    "white": (250, 250, 250),
    "gray": (128, 128, 128),
}
"""The 6 backgrounds as RGB in 0-255."""

NUMBERS = {"a": 1, "an": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
DIGITS = {str(count): count for count in range(1, 7)}
RELATIONS = ("left of", "above")
OPEN = "with"
FORMS = ("full", "any background", "open", "background only")
KINDS = ("count", "pair", "left", "above", "mixed", "triple", "counted-left", "counted-above")
MAX_COUNT = 6

VOCABULARY = tuple(
    sorted({*OBJECTS, *PLURALS.values(), *BACKGROUNDS, *NUMBERS, *DIGITS, OPEN, "and", "on", "left", "of", "above"})
)
"""Every word that a caption may hold."""

_SINGULAR = {plural: name for name, plural in PLURALS.items()} | {name: name for name in OBJECTS}
NUMBER_WORDS = {count: word for word, count in NUMBERS.items() if word not in ("a", "an")} | {1: "one"}


class PromptError(ValueError):
    """The prompt is not a caption of an emoji scene."""


class UnknownWordError(PromptError):
    """The prompt holds words outside of the vocabulary; `words` lists them."""

    def __init__(self, words: list[str]):
        self.words = words
        named = ", ".join(repr(word) for word in words)
        known = ", ".join(OBJECTS)
        super().__init__(
            f"unknown word{'s' if len(words) > 1 else ''} {named} in the prompt; known objects: {known}; numbers: a to "
            f"six, 1 to 6; backgrounds: {', '.join(BACKGROUNDS)}; words between: with, and, left of, above, on"
        )


@dataclass(frozen=True)
class Group:
    """`count` sprites of one `object`."""

    count: int
    object: str

    def __str__(self) -> str:
        if self.count == 1:
            return f"{'an' if self.object[0] in 'aeiou' else 'a'} {self.object}"
        return f"{NUMBER_WORDS[self.count]} {PLURALS[self.object]}"


@dataclass(frozen=True)
class Scene:
    """What a caption asks for: groups of objects, a background, and how the first group stands to the second.

    Attributes:
        groups: of different objects; none where only a background is asked for.
        background: a name in `BACKGROUNDS`; None for any.
        relation: a name in `RELATIONS`; None for none.
        open: whether objects that are not named may be there too.
    """

    groups: tuple[Group, ...]
    background: str | None
    relation: str | None = None
    open: bool = False

    def __post_init__(self) -> None:
        if not self.groups and (self.background is None or not self.open):
            raise PromptError("a scene without objects asks for a background and is open")

    @property
    def caption(self) -> str:
        """The caption in its plain form: number words, groups in their order."""
        joint = f" {self.relation} " if self.relation else " and "
        words = [joint.join(map(str, self.groups))] if self.groups else []
        if self.open and self.groups:
            words.insert(0, OPEN)
        if self.background is not None:
            words.append(f"on {self.background}")
        return " ".join(words)

    @property
    def counts(self) -> dict[str, int]:
        """Sprites asked for, by object."""
        return {group.object: group.count for group in self.groups}

    @property
    def total(self) -> int:
        """Sprites that are named."""
        return sum(group.count for group in self.groups)

    @property
    def form(self) -> str:
        """One of `FORMS`: what the caption leaves free."""
        if not self.groups:
            return "background only"
        if self.open:
            return "open"
        return "full" if self.background is not None else "any background"

    @property
    def kind(self) -> str:
        """One of `KINDS`, by the groups and the relation; "background" where no object is named."""
        singles = all(group.count == 1 for group in self.groups)
        if self.relation:
            name = "left" if self.relation == "left of" else "above"
            return name if singles else f"counted-{name}"
        match len(self.groups):
            case 0:
                return "background"
            case 1:
                return "count"
            case 3:
                return "triple"
        return "pair" if singles else "mixed"

    def counts_hold(self, counts: Mapping[str, int]) -> bool:
        """Whether so many whole sprites, by object, are what is asked for."""
        if any(counts.get(name, 0) != count for name, count in self.counts.items()):
            return False
        return self.open or not any(count for name, count in counts.items() if name not in self.counts)

    def background_holds(self, background: str | None) -> bool:
        """Whether a picture's background is what is asked for."""
        return self.background in (None, background)

    def relation_holds(self, spots: Iterable[tuple[Any, ...]]) -> bool | None:
        """Whether every sprite of the first group stands before all of the second.

        Args:
            spots: of each sprite; object, x and y of the centre come first.

        Returns:
            None where no relation is asked for.
        """
        if self.relation is None:
            return None
        axis = 1 if self.relation == "left of" else 2
        along = [(spot[0], spot[axis]) for spot in spots]
        first, second = ([place for name, place in along if name == group.object] for group in self.groups)
        return bool(first and second) and max(first) < min(second)


def words_of(prompt: str) -> list[str]:
    """The words of a prompt in lower case, without punctuation."""
    return re.findall(r"[^\s,.!?]+", prompt.lower())


def unknown_words(prompt: str) -> list[str]:
    """The words of `prompt` that no caption holds, in their order."""
    return [word for word in dict.fromkeys(words_of(prompt)) if word not in VOCABULARY]


def parse(prompt: str) -> Scene:
    """Read a caption.

    Raises:
        UnknownWordError: for words outside of the vocabulary.
        PromptError: for known words in an order that is no caption.
    """
    if unknown := unknown_words(prompt):
        raise UnknownWordError(unknown)
    words = words_of(prompt)
    expected = (
        f'{prompt!r} is not a scene; write for instance "three cats on pink", "a car left of a tree on yellow", "three '
        'cats", "with a cat" or "on blue"'
    )
    background = None
    if len(words) > 1 and words[-2] == "on":
        words, background = words[:-2], words[-1]
        if background not in BACKGROUNDS:
            raise PromptError(expected + f"; the backgrounds are {', '.join(BACKGROUNDS)}")
    is_open = words[:1] == [OPEN]
    body = " ".join(words[1:] if is_open else words)
    if not body:
        if is_open or background is None:
            raise PromptError(expected)
        return Scene((), background, open=True)
    relation = next((name for name in RELATIONS if f" {name} " in body), None)
    parts = re.split(f" {relation} | and " if relation else " and ", body)
    if len(parts) > (2 if relation else 3):
        raise PromptError(expected + "; it holds at most three groups, or two with a relation")
    groups = tuple(_parse_group(part, expected) for part in parts)
    if len({group.object for group in groups}) < len(groups):
        raise PromptError(expected + "; each object stands in one group")
    return Scene(groups, background, relation, is_open)


def _parse_group(text: str, expected: str) -> Group:
    number, _, name = text.partition(" ")
    count = NUMBERS.get(number) or DIGITS.get(number)
    if count is None or name not in _SINGULAR:
        raise PromptError(expected + f"; {text!r} should be a number and an object")
    return Group(count, _SINGULAR[name])


def with_digits(caption: str) -> str:
    """The same caption with digits in place of number words."""
    return " ".join(str(NUMBERS.get(word, word)) for word in caption.split())
