"""The command line, `samplesmith COMMAND`: each command is a file in `commands/`; models load when they are needed."""

from __future__ import annotations

import sys
import warnings
from io import TextIOWrapper
from typing import Annotated, Any

import typer

from .. import __version__
from .commands.calibrate import calibrate
from .commands.collect import collect
from .commands.distill import distill
from .commands.evaluate import evaluate
from .commands.models import models
from .commands.options import Interruptible, console, errors
from .commands.plan import plan
from .commands.reflect import reflect
from .commands.sample import sample
from .commands.score import score
from .commands.search import search
from .commands.steer import steer
from .commands.superpose import superpose
from .commands.web import web

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Make any diffusers model sample better by spending inference compute well.",
)
for _command in (search, steer, superpose, sample, score, models, calibrate, plan, collect, reflect, distill):
    app.command(cls=Interruptible)(_command)
app.add_typer(evaluate, name="evaluate")
app.command()(web)


def main() -> None:
    """Run the command line; bad input gives exit code 2 and one sentence."""
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character shows another in its place
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app()
    except (ValueError, OSError) as error:
        errors.print(f"samplesmith: {error}", style="red", highlight=False, soft_wrap=True)
        sys.exit(2)


def _show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    if issubclass(category, UserWarning) and not issubclass(category, (DeprecationWarning, FutureWarning)):
        errors.print(f"samplesmith: {message}", style="yellow", highlight=False, soft_wrap=True)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        console.print(__version__)
