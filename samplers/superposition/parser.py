"""Formulas from their text: `"with a cat" & ~("on blue" | "on pink")`."""

from __future__ import annotations

import json
import re

from .formula import And, Formula, Not, Or, Prompt

_TOKEN = re.compile(r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<sign>[&|~()]))""")


def parse_formula(text: str) -> Formula:
    """Read a formula: prompts in quotes (double or single), `&`, `|`, `~` and brackets.

    Raises:
        ValueError: for a text that is no formula, with the place where it goes wrong.
    """
    parser = _Parser(text)
    formula = parser.either()
    if parser.sign is not None or parser.text is not None:
        raise parser.error("a & or | before this")
    return formula


class _Parser:
    """One token ahead of what was read: a prompt in `text`, or a `sign`; None of both at the end."""

    def __init__(self, source: str):
        self.source, self.place, self.start = source, 0, 0
        self.advance()

    def advance(self) -> None:
        self.text = self.sign = None
        rest = self.source[self.place :]
        self.start = self.place + len(rest) - len(rest.lstrip())
        if not rest.strip():
            return
        if (found := _TOKEN.match(self.source, self.place)) is None:
            raise self.error("a prompt in quotes, one of & | ~, or a bracket")
        self.place = found.end()
        self.text, self.sign = found["text"], found["sign"]

    def error(self, wanted: str) -> ValueError:
        where = f"at {self.source[self.start :][:20]!r}" if self.source[self.start :] else "at its end"
        return ValueError(
            f'the formula {self.source!r} lacks {wanted}, {where}; write for example \'"with a cat" & ~"on blue"\''
        )

    def either(self) -> Formula:
        parts = [self.both()]
        while self.sign == "|":
            self.advance()
            parts.append(self.both())
        return Or.of(*parts)

    def both(self) -> Formula:
        parts = [self.term()]
        while self.sign == "&":
            self.advance()
            parts.append(self.term())
        return And.of(*parts)

    def term(self) -> Formula:
        if self.sign == "~":
            self.advance()
            return Not(self.term())
        if self.sign == "(":
            self.advance()
            inner = self.either()
            if self.sign != ")":
                raise self.error("a closing bracket")
            self.advance()
            return inner
        if self.text is None:
            raise self.error("a prompt in quotes")
        prompt = Prompt(_unquoted(self.text))
        self.advance()
        return prompt


def _unquoted(text: str) -> str:
    """What stands between quotes, with \\" and \\\\ and other escapes of JSON read."""
    inner = text[1:-1]
    if text[0] == "'":
        inner = inner.replace("\\'", "'")
        inner = re.sub(r'(?<!\\)"', r"\"", inner)
    try:
        return json.loads(f'"{inner}"', strict=False)
    except json.JSONDecodeError:
        return inner
