"""Plain words: what the page's terms mean, and the words that a shipped model knows."""

from __future__ import annotations

from html import escape

from ...scenes import BACKGROUNDS, OBJECTS, UnknownWordError
from .pictures import notice

GLOSSARY = {
    "NFE": "One evaluation of the image model for one picture; a guided step costs two. The fair unit of cost.",
    "verifier": "A model that scores pictures for the prompt. It chooses the winner.",
    "judge": "A second model that checks pictures. It takes no part in the choice, so its word on the gain is fair.",
    "candidate": "One picture that was tried: the same prompt from another random seed.",
    "teacher": "A model that draws in many steps, from which a student has learned.",
    "student": "A model that has learned to draw in few steps what another one, its teacher, draws in many.",
    "window": "How far, in training times, a shifted time may lie from the time of the grid.",
    "cutoff": "Below this time, near the finished picture, no time is shifted any more.",
    "FID": "A distance between two sets of pictures, made and real; lower is better.",
}
"""What a visitor who has read no paper wants to know of a word, in one or two sentences."""


def term(word: str, shown: str | None = None) -> str:
    """A word that explains itself under the mouse, and to those who come to it by keyboard."""
    meaning = escape(GLOSSARY[word])
    shown = escape(shown or word)
    return f'<button type="button" class="term" data-help="{meaning}" aria-label="{shown}: {meaning}">{shown}</button>'


def glossary() -> str:
    """All of the words, folded away."""
    rows = "".join(f"<dt>{escape(word)}</dt><dd>{escape(meaning)}</dd>" for word, meaning in GLOSSARY.items())
    return f'<details class="glossary"><summary>What do these words mean?</summary><dl>{rows}</dl></details>'


def chips(words: dict[str, tuple[str, ...]], replaces: str = "") -> str:
    """Words to click, which go into the prompt of the tab (`page.js`).

    Args:
        words: by the name of their group.
        replaces: a word of the prompt in whose place they go; "*" for all of it, empty for its end.
    """
    groups = []
    for name, some in words.items():
        buttons = "".join(
            f'<button type="button" class="chip" data-word="{escape(word)}" data-replaces="{escape(replaces)}">'
            f"{escape(word)}</button>"
            for word in some
        )
        groups.append(
            f'<div class="chips" role="group" aria-label="{escape(name)}"><b>{escape(name)}</b>{buttons}</div>'
        )
    return "".join(groups)


def folded_chips(title: str, words: dict[str, tuple[str, ...]], replaces: str = "") -> str:
    """Words to click, as `chips` takes them, folded away under a title."""
    return f'<details class="words"><summary>{escape(title)}</summary>{chips(words, replaces)}</details>'


def scene_words() -> dict[str, tuple[str, ...]]:
    """The words of emoji scenes."""
    return {
        "numbers": ("a", "two", "three", "four", "five", "six"),
        "objects": OBJECTS,
        "between": ("and", "left of", "above", "with"),
        "backgrounds": tuple(f"on {name}" for name in BACKGROUNDS),
    }


def refusal(error: Exception, sentence: str) -> str:
    """What a visitor sees of a refused run: the sentence, and where a word is not known, those that are, to click.

    Args:
        error: that refused it.
        sentence: of it, which programs that call the page get.
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UnknownWordError):
        cause = cause.__cause__
    if cause is None:
        return notice(sentence, "wrong")
    named = ", ".join(repr(word) for word in cause.words)
    text = f"unknown word{'s' if len(cause.words) > 1 else ''} {named}: click one of those that this model draws."
    return notice(text, "wrong") + f'<div class="known">{chips(scene_words(), cause.words[0])}</div>'
