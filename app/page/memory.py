"""A tab's memory, which the browser keeps (`memory.js`): a link repeats a run, a visit's runs can be shown again."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr

from ...valid_json import to_json

_JS: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}


class Memory:
    """Connects a tab's fields and results with the browser's memory.

    Args:
        tab: its title.
        inputs: the fields of a run by name; one is "prompt", "condition" or "what", by which the run is called.
        shown: components that hold what a run shows by name, texts all of them.
        start: the button that begins a run.
    """

    def __init__(self, tab: str, inputs: Mapping[str, Any], shown: Mapping[str, Any], start: gr.Button):
        self.tab, self.inputs, self.shown = tab, inputs, list(shown.values())
        name = tab.lower().replace(" ", "-")
        fields = list(inputs.values())
        names = to_json(list(inputs))
        restore = gr.Button("restore", visible="hidden", elem_id=f"restore-{name}")
        restore.click(
            None,
            fields + self.shown,
            fields + self.shown,
            js=f"(...all) => samplesmith.restored({names}, all)",
            **_JS,
        )
        link = gr.Button("link", visible="hidden", elem_id=f"link-{name}")
        filled = link.click(None, fields, fields, js=f"(...all) => samplesmith.linked({names}, all)", **_JS)
        filled.then(None, js=f"() => setTimeout(() => document.getElementById('{start.elem_id}').click(), 300)", **_JS)

    def keep(self, run: Any) -> None:
        """Remember each run of an event that ends well.

        Args:
            run: the event, as gradio returns it.
        """
        tab = to_json(self.tab)
        run.success(None, self.shown, js=f"(...all) => {{ samplesmith.keep({tab}, all); }}", **_JS)


def strip() -> str:
    """Where the visit's runs are shown; `memory.js` fills it."""
    return '<div class="strip" role="group" aria-label="Runs of this visit"></div>'


def settings(values: Mapping[str, Any]) -> str:
    """What a run was asked for, for the browser's memory: part of what the run shows."""
    return f'<div hidden data-settings="{escape(to_json(dict(values)))}"></div>'
