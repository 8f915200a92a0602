"""How to make a run again without the page: a program and a command line, under the results of a tab."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import gradio as gr

from .controls import Update
from .models import Models


class Repeat:
    """Builds the two fields in a fold of their own.

    Args:
        models: of the page.
        name: begins the fields' ids.
        code, command: that stand there to begin with.
        title: of the fold.
    """

    def __init__(self, models: Models, name: str, code: str = "", command: str = "", title: str = "Repeat this run"):
        self.models = models
        shown: dict[str, Any] = {"interactive": False, "wrap_lines": True, "show_line_numbers": False, "lines": 1}
        shown["elem_classes"] = "again"
        with gr.Accordion(title, open=True):
            self.code = gr.Code(code, language="python", label="Python", elem_id=f"{name}-snippet", **shown)
            self.command = gr.Code(command, language="shell", label="Command line", elem_id=f"{name}-command", **shown)

    @property
    def fields(self) -> dict[str, Any]:
        """By name."""
        return {"code": self.code, "command": self.command}

    def blank(self) -> Update:
        """A run begins."""
        return {self.code: "", self.command: ""}

    def of(self, code: str, command: Callable[[], str], names: Collection[str | None], note: str = "") -> Update:
        """A run has ended.

        Args:
            code: a program that makes it again.
            command: gives the command line; it is not asked where an object in a program is among the names.
            names: of the run's models.
            note: a line before both, such as a comment.
        """
        if hidden := [name for name in self.models.in_hand if name in names]:
            line = f"# {' and '.join(hidden)}: an object in your program, which no command line can name"
        else:
            line = command().rstrip("\n")
        return {self.code: note + code, self.command: f"{note}{line}\n"}
