"""Emoji scenes: what a prompt asks for, and a picture that shows it. The bottom floor: numpy and pillow only."""

from .draw import IMAGE_SIZE, DrawnScene, Sprite, draw, draw_batch, paste
from .grammar import (
    BACKGROUNDS,
    KINDS,
    OBJECTS,
    VOCABULARY,
    Group,
    PromptError,
    Scene,
    UnknownWordError,
    parse,
    unknown_words,
)
from .sampling import is_held_out, sample_scene

__all__ = [
    "BACKGROUNDS",
    "IMAGE_SIZE",
    "KINDS",
    "OBJECTS",
    "VOCABULARY",
    "DrawnScene",
    "Group",
    "PromptError",
    "Scene",
    "Sprite",
    "UnknownWordError",
    "draw",
    "draw_batch",
    "is_held_out",
    "parse",
    "paste",
    "sample_scene",
    "unknown_words",
]
