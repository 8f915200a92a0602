"""The language of the scenes: captions such as "two cats and three stars on blue", both ways.

Grammar: `GROUP [RELATION GROUP | and GROUP [and GROUP]] on BACKGROUND`, where a group is a number word and an object
("a cat", "three stars") and a relation is "left of" or "above".
"""

from __future__ import annotations

import re
from dataclasses import dataclass

OBJECTS = (
    "cat", "dog", "frog", "panda", "fish", "turtle",
    "butterfly", "penguin", "tree", "sunflower", "mushroom", "apple",
    "banana", "pizza", "car", "boat", "rocket", "bicycle",
    "house", "ball", "umbrella", "star", "heart", "robot",
)  # fmt: skip
"""The 24 objects, in the order of the atlas (six a row)."""

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
RELATIONS = ("left of", "above")
KINDS = ("count", "pair", "left", "above", "mixed", "triple", "counted-left", "counted-above")
MAX_COUNT = 6

VOCABULARY = tuple(sorted({*OBJECTS, *PLURALS.values(), *BACKGROUNDS, *NUMBERS, "and", "on", "left", "of", "above"}))
"""Every word that a caption may hold."""

_SINGULAR = {plural: name for name, plural in PLURALS.items()} | {name: name for name in OBJECTS}
_NUMBER_WORDS = {count: word for word, count in NUMBERS.items() if word != "an"}


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
            f"six; backgrounds: {', '.join(BACKGROUNDS)}; words between: and, left of, above, on"
        )


@dataclass(frozen=True)
class Group:
    """`count` sprites of one `object`."""

    count: int
    object: str

    def __str__(self) -> str:
        if self.count == 1:
            return f"{'an' if self.object[0] in 'aeiou' else 'a'} {self.object}"
        return f"{_NUMBER_WORDS[self.count]} {PLURALS[self.object]}"


@dataclass(frozen=True)
class Scene:
    """What a caption asks for: groups of objects, a background, and how the first group stands to the second."""

    groups: tuple[Group, ...]
    background: str
    relation: str | None = None

    @property
    def caption(self) -> str:
        joint = f" {self.relation} " if self.relation else " and "
        return f"{joint.join(map(str, self.groups))} on {self.background}"

    @property
    def counts(self) -> dict[str, int]:
        """Sprites asked for, by object."""
        return {group.object: group.count for group in self.groups}

    @property
    def total(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        singles = all(group.count == 1 for group in self.groups)
        if self.relation:
            name = "left" if self.relation == "left of" else "above"
            return name if singles else f"counted-{name}"
        if len(self.groups) == 1:
            return "count"
        if len(self.groups) == 3:
            return "triple"
        return "pair" if singles else "mixed"


def words_of(prompt: str) -> list[str]:
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
    text = " ".join(words_of(prompt))
    expected = f'{prompt!r} is not a scene; write for instance "three cats on pink" or "a car left of a tree on yellow"'
    body, on, background = text.rpartition(" on ")
    if not on or background not in BACKGROUNDS:
        raise PromptError(expected + f"; a scene ends with on {', '.join(BACKGROUNDS)}")
    relation = next((name for name in RELATIONS if f" {name} " in body), None)
    parts = re.split(f" {relation} | and " if relation else " and ", body)
    if len(parts) > (2 if relation else 3):
        raise PromptError(expected + "; it holds at most three groups, or two with a relation")
    groups = tuple(_parse_group(part, expected) for part in parts)
    if len({group.object for group in groups}) < len(groups):
        raise PromptError(expected + "; each object stands in one group")
    return Scene(groups, background, relation)


def _parse_group(text: str, expected: str) -> Group:
    number, _, name = text.partition(" ")
    if number not in NUMBERS or name not in _SINGULAR:
        raise PromptError(expected + f"; {text!r} should be a number word and an object")
    return Group(NUMBERS[number], _SINGULAR[name])
