"""Emoji scenes: what a prompt asks for, and a picture that shows it. The bottom floor: numpy and pillow only."""

from .conditions import Both, Either, Not, holds, merged, sample_where
from .draw import IMAGE_SIZE, DrawnScene, Sprite, draw, draw_batch, paste
from .grammar import (
    BACKGROUNDS,
    FORMS,
    KINDS,
    OBJECTS,
    VOCABULARY,
    Group,
    PromptError,
    Scene,
    UnknownWordError,
    parse,
    unknown_words,
    with_digits,
    words_of,
)
from .sampling import is_held_out, sample_description, sample_scene, sample_true

__all__ = [
    "BACKGROUNDS",
    "FORMS",
    "IMAGE_SIZE",
    "KINDS",
    "OBJECTS",
    "VOCABULARY",
    "Both",
    "DrawnScene",
    "Either",
    "Group",
    "Not",
    "PromptError",
    "Scene",
    "Sprite",
    "UnknownWordError",
    "draw",
    "draw_batch",
    "holds",
    "is_held_out",
    "merged",
    "parse",
    "paste",
    "sample_description",
    "sample_scene",
    "sample_true",
    "sample_where",
    "unknown_words",
    "with_digits",
    "words_of",
]
