"""One grammar for what has a name and settings, `name:key=value,...`: strategies, schedulers, verifiers, hooks.

A value is a number, `true`, `false`, `none`, a text, a list `[4,12]`, or a map `{4:0.2,8:0.9}` with texts as keys. A
text is written as it is, or in double quotes as in JSON where it could be read as something else or holds one of
`,[]{}"`.
"""

from __future__ import annotations

import inspect
import json
import math
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from .valid_json import to_json

T = TypeVar("T")

DEEPEST = 16
"""Lists within lists that are read; more are nobody's setting."""

_WORDS = {"true": True, "false": False, "none": None, "null": None}
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_KEY = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_BARE = re.compile(r'[^,\[\]{}"]+')
_MAP_KEY = re.compile(r"[\w.+-]+", re.ASCII)
_PLAIN = re.compile(r"[A-Za-z_./@~][\w./@:~+-]*", re.ASCII)
"""Texts that are written without quotes; more are read without them."""


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of a text such as "zero-order:neighbours=4,angle=0.4".

    Raises:
        ValueError: for a text that has another form, in one sentence.
    """
    name, _, rest = text.partition(":")
    name = name.strip()
    if not name or not name.isprintable():
        raise ValueError(f"{_short(text)} has no name; write name:key=value,..., the name in what can be printed")
    return name, parse_settings(rest, name)


def parse_settings(text: str, owner: str = "") -> dict[str, Any]:
    """Settings of a text such as "neighbours=4,angle=0.4"; empty where nothing is written.

    Args:
        text: what stands behind a name.
        owner: the name, for messages.

    Raises:
        ValueError: for a text that has another form, and for a setting that is given twice.
    """
    return _Reader(text, owner).settings()


def write(name: str, settings: Mapping[str, Any] | None = None) -> str:
    """The text that `parse` reads as this name and these settings.

    Raises:
        ValueError: for a name or key that the grammar does not have, and for a value that is none of its kinds, such as
            NaN.
    """
    if not name or name != name.strip() or ":" in name or not name.isprintable():
        raise ValueError(f"{name!r} is no name; leave out colons, outer spaces and what cannot be printed")
    written = write_settings(settings or {})
    return f"{name}:{written}" if written else name


def write_settings(settings: Mapping[str, Any]) -> str:
    """The text that `parse_settings` reads as these settings.

    Raises:
        ValueError: for a key or value that the grammar does not have.
    """
    for key in settings:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} is no name of a setting; use letters, digits and underscores")
    parts = []
    for key, value in settings.items():
        try:
            parts.append(f"{key}={write_value(value)}")
        except ValueError as error:
            raise ValueError(f"{key} is {error}") from None
    return ",".join(parts)


def write_value(value: Any) -> str:
    """A value as the grammar has it.

    Raises:
        ValueError: for a value that is none of its kinds.
    """
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS and not _NUMBER.fullmatch(value)
        return value if plain else to_json(value)
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) for key in value):
            raise ValueError(f"{_short(value)}, whose keys are no texts")
        return "{" + ",".join(f"{_map_key(key)}:{write_value(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(map(write_value, value)) + "]"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return repr(int(value) if isinstance(value, int) else float(value))  # of numpy's numbers too
    raise ValueError(f"{_short(value)}; give a number, true, false, none, a text, a list or a map")


def resolve(
    text: str, registry: Mapping[str, Callable[..., T]], kind: str, given: Collection[str] = ()
) -> tuple[Callable[..., T], dict[str, Any]]:
    """What a text names in a registry, and its settings, which are among those that it takes.

    Args:
        text: such as "halving:rungs=[4,12]".
        registry: what makes each thing, by name; its parameters are the settings.
        kind: of thing, for messages: "strategy".
        given: parameters that are no settings: the caller gives them.

    Raises:
        ValueError: for an unknown name, setting or kind of value; it lists the known ones.
    """
    name, settings = parse(text)
    if name not in registry:
        raise ValueError(f"unknown {kind} {name!r}; known: {', '.join(registry)}")
    check_settings(name, settings, registry[name], given)
    return registry[name], settings


def check_settings(
    name: str, settings: Mapping[str, Any], maker: Callable[..., Any], given: Collection[str] = ()
) -> None:
    """Refuse settings that a maker's signature does not have, or that are of another type than it says.

    Args:
        name: of what is made.
        settings: by name.
        maker: a class or a function.
        given: its parameters that are no settings.

    Raises:
        ValueError: listing the known settings, or saying what the setting takes.
    """
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    parameters = inspect.signature(maker).parameters.items()
    known = [key for key, one in parameters if one.kind not in variable and key not in given]
    hints = _hints(maker)
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"{name} has no setting {key!r}; known: {', '.join(known) or 'none'}")
        if key in hints and not _is_of(value, hints[key]):
            raise ValueError(f"{name} has {key}={write_value(value)}; give {_in_words(hints[key])}")


def _hints(maker: Callable[..., Any]) -> dict[str, Any]:
    """Types of parameters; none where they name what cannot be found."""
    function: Any = maker
    is_class = isinstance(maker, type)
    try:
        return typing.get_type_hints(inspect.unwrap(function.__init__ if is_class else function))
    except (NameError, TypeError):
        return {}


def _kinds(hint: Any) -> list[Any]:
    """The members of a union, each without what stands in its brackets."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return [kind for one in typing.get_args(hint) for kind in _kinds(one)]
    return [hint if origin is typing.Literal else origin or hint]


def _is_of(value: Any, hint: Any) -> bool:
    return any(_is_one(value, kind) for kind in _kinds(hint))


def _is_one(value: Any, kind: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    if kind not in _IN_WORDS:
        return True  # what the grammar does not know, its owner checks
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    if issubclass(kind, (Sequence, tuple)) and kind is not str:
        return isinstance(value, list)
    return isinstance(value, kind)


_IN_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "none",
    list: "a list such as [4,12]",
    tuple: "a list such as [4,12]",
    Sequence: "a list such as [4,12]",
    dict: "a map such as {4:0.2}",
    Mapping: "a map such as {4:0.2}",
}


def _in_words(hint: Any) -> str:
    words: list[str] = []
    for kind in _kinds(hint):
        if typing.get_origin(kind) is typing.Literal:
            words += map(str, typing.get_args(kind))
        else:
            words.append(_IN_WORDS.get(kind, str(kind)))
    return " or ".join(dict.fromkeys(words))


def _map_key(key: str) -> str:
    return key if _MAP_KEY.fullmatch(key) else to_json(key)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class _Reader:
    """Reads settings from left to right."""

    def __init__(self, text: str, owner: str):
        self.text, self.owner, self.place = text, owner, 0

    def settings(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self._skip_spaces()
        while self.place < len(self.text):
            key = self._take(_KEY)
            if key is None or not self._eat("="):
                raise self._error("write settings as key=value, with commas between them")
            if key in found:
                raise self._error(f"{key} is given twice")
            found[key] = self._value(0)
            if not self._eat(",") and self.place < len(self.text):
                raise self._error(f"a comma or the end was expected behind {key}")
        return found

    def _value(self, depth: int) -> Any:
        if depth > DEEPEST:
            raise self._error(f"lists stand in each other more than {DEEPEST} times")
        if self._eat("["):
            return self._members("]", lambda: self._value(depth + 1))
        if self._eat("{"):
            pairs = self._members("}", lambda: self._pair(depth + 1))
            return dict(pairs)
        if self.text[self.place : self.place + 1] == '"':
            return self._quoted()
        return self._word()

    def _members(self, end: str, member: Callable[[], Any]) -> list[Any]:
        members: list[Any] = []
        while not self._eat(end):
            if members and not self._eat(","):
                raise self._error(f"a comma or {end} was expected")
            members.append(member())
        return members

    def _pair(self, depth: int) -> tuple[str, Any]:
        key = self._quoted() if self.text[self.place : self.place + 1] == '"' else self._take(_MAP_KEY)
        if key is None or not self._eat(":"):
            raise self._error("write a map as {key:value,...}")
        return key, self._value(depth)

    def _quoted(self) -> str:
        try:
            text, self.place = json.JSONDecoder().raw_decode(self.text, self.place)
        except ValueError:
            raise self._error("a quoted text does not end, or has an escape that JSON does not have") from None
        self._skip_spaces()
        return text

    def _word(self) -> Any:
        text = (self._take(_BARE) or "").strip()
        if not text:
            raise self._error("a value is missing")
        if text.lower() in _WORDS:
            return _WORDS[text.lower()]
        if not _NUMBER.fullmatch(text):
            return text
        try:
            return int(text) if re.fullmatch(r"[-+]?\d+", text) else self._finite(float(text))
        except ValueError:
            raise self._error("a number is too large") from None

    @staticmethod
    def _finite(number: float) -> float:
        if not math.isfinite(number):
            raise ValueError
        return number

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        if (match := pattern.match(self.text, self.place)) is None:
            return None
        self.place = match.end()
        self._skip_spaces()
        return match[0]

    def _eat(self, sign: str) -> bool:
        if self.text[self.place : self.place + 1] != sign:
            return False
        self.place += 1
        self._skip_spaces()
        return True

    def _skip_spaces(self) -> None:
        while self.text[self.place : self.place + 1].isspace():
            self.place += 1

    def _error(self, why: str) -> ValueError:
        owner = f"the settings of {self.owner}" if self.owner else "the settings"
        return ValueError(f"{owner}, {_short(self.text)}, cannot be read: {why}")
