"""The events of a tab's run, alike in all tabs: what begins it, what ends it, and that the browser remembers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import gradio as gr

from .controls import LIGHT, RUN, RunControls, Update, named
from .memory import Memory
from .studio import Studio


class RunTab(Protocol):
    """What a tab that runs something holds.

    Attributes:
        studio: of the page.
        status: where sentences are shown.
        start, cancel: begin and end a run.
        inputs: fields of a run by name.
        shown: components that hold what a run shows by name.
    """

    studio: Studio
    status: gr.HTML
    start: gr.Button
    cancel: gr.Button
    inputs: dict[str, Any]
    shown: dict[str, Any]

    def run(self, request: gr.Request, *values: Any) -> Iterator[Update]:
        """Run with the fields' values, and show what comes."""


class Presets(NamedTuple):
    """Buttons that fill fields in and begin a run.

    Attributes:
        buttons: by name.
        fill: takes a button's name and the values that are read, and returns what fields it fills in get.
        fields: that are filled in.
        read: fields whose values `fill` takes.
    """

    buttons: Mapping[str, gr.Button]
    fill: Callable[..., Any]
    fields: Sequence[Any]
    read: Sequence[Any] = ()


NO_PRESETS = Presets({}, lambda name: [], [])


def connect_run(
    tab: RunTab,
    title: str,
    typed: Sequence[Any],
    presets: Presets = NO_PRESETS,
    also_changes: Sequence[Any] = (),
) -> RunControls:
    """Let the start button, Enter and presets begin a tab's run, and the browser keep each that ends well.

    Args:
        tab: its fields stand already.
        title: of the tab; in small letters it is the run's name for programs that call the API.
        typed: fields in which Enter begins a run.
        presets: of the tab.
        also_changes: components that a run changes beside status, buttons and what it shows.
    """
    controls = RunControls(tab.studio, title, tab.status, tab.start, tab.cancel, list(presets.buttons.values()))
    memory = Memory(title, tab.inputs, tab.shown, tab.start)
    run = {"fn": named(tab.run, tab.inputs), "inputs": list(tab.inputs.values())}
    run |= {"outputs": [*controls.outputs, *tab.shown.values(), *also_changes], **RUN}
    begins = [tab.start.click, *(field.submit for field in typed)]
    memory.keep(gr.on(begins, api_name=title.lower().replace(" ", "_"), **run))
    for name, button in presets.buttons.items():
        filled = button.click(partial(presets.fill, name), list(presets.read), list(presets.fields), **LIGHT)
        memory.keep(filled.then(api_visibility="private", **run))
    return controls
