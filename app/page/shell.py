"""The page: Gradio Blocks around the tabs that `tabs.py` lists."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import gradio as gr

from .library import import_library
from .limits import Limits
from .models import Models
from .serving import app_settings
from .studio import Studio
from .tabs import TABS
from .words import glossary

CSS = Path(__file__).with_name("page.css")
SCRIPTS = ("page.js", "look.js", "memory.js")
"""In the order in which they stand on each other."""
_HEAD = "".join(f'<script src="page/{name}" defer></script>' for name in SCRIPTS)
_TOGGLE = "() => samplesmith.theme(true)"
_ARRIVE = "() => { samplesmith.theme(false); samplesmith.draw(); samplesmith.arrive(); }"
_FONT = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif"]
_MONO = ["ui-monospace", "SFMono-Regular", "Menlo", "DejaVu Sans Mono", "monospace"]


def launch(
    pipe: Any = None,
    verifier: Any = None,
    *,
    models: Models | None = None,
    limits: Limits | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    block: bool = True,
) -> gr.Blocks:
    """Open the page.

    Args:
        pipe: a diffusers pipeline in hand; None: the shipped models.
        verifier: a `Verifier` in hand that chooses; None: the shipped ones.
        models: what the page offers, in place of `pipe` and `verifier`.
        limits: of one visitor's request, and of the line.
        host: address to listen on; the default is seen by this machine alone.
        port: None: the first free one from 7860.
        share: whether gradio opens a public link.
        block: whether to return only when the page is closed.

    Returns:
        the page; `page.local_url` is its address, `page.close()` ends it.
    """
    studio = Studio(models or Models(pipe=pipe, verifier=verifier), limits or Limits())
    page = build_page(studio)
    # Diffusers' import of requests warns, in another thread: matplotlib, which gradio imports with its first event,
    # would log that warning as its own.
    import_module("requests")
    page.launch(
        server_name=host,
        server_port=port,
        share=share,
        prevent_thread_lock=True,
        quiet=True,
        app_kwargs=app_settings(studio.visitors.home),
        theme=_theme(),
        css_paths=[CSS],
        head=_HEAD,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        max_file_size="1b",  # nothing is ever uploaded
        state_session_capacity=1000,
    )
    page.studio = studio
    # What takes seconds to import is ready when the first visitor asks; no model is loaded for that.
    threading.Thread(target=import_library, daemon=True).start()
    print(f"Samplesmith is at {page.share_url or page.local_url} (Ctrl-C ends it)", flush=True)
    if block:
        try:
            with _ended_by_sigterm():
                page.block_thread()
        finally:
            studio.close()
    return page


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the page as Ctrl-C does, so that the visitors' files go; only a main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def build_page(studio: Studio) -> gr.Blocks:
    """The page's components; `launch` serves them."""
    with gr.Blocks(title="Samplesmith", analytics_enabled=False) as page:
        with gr.Row(elem_classes="head"):
            gr.HTML("<h1>Samplesmith</h1><p>Spend compute where the image is made: search, watch, compare.</p>")
            theme = gr.Button("Light or dark", size="sm", scale=0, elem_id="theme")
            theme.click(None, js=_TOGGLE, show_progress="hidden", api_visibility="private")
        for title, build in TABS.items():
            with gr.Tab(title):
                build(studio)

        def arrive(request: gr.Request) -> None:
            studio.visitors.open(str(request.session_hash))

        def leave(request: gr.Request) -> None:
            studio.visitors.leave(str(request.session_hash))

        gr.HTML(glossary())
        page.load(arrive, queue=False, show_progress="hidden", api_visibility="private")
        page.load(None, js=_ARRIVE, show_progress="hidden", api_visibility="private")
        page.unload(leave)
    return page.queue(max_size=4 * studio.limits.in_line)


def _theme() -> gr.themes.Base:
    # Soft's own subdued text and button are too pale to read well on their grounds.
    return gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font=_FONT, font_mono=_MONO, radius_size="md").set(
        body_background_fill="*neutral_50",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_secondary_background_fill_hover="*neutral_200",
        button_secondary_background_fill_hover_dark="*neutral_800",
        button_secondary_text_color_hover_dark="white",
        block_title_text_color="*primary_800",
        block_title_text_color_dark="white",
        block_title_background_fill_dark="*primary_800",
        block_label_text_color="*primary_800",
        block_label_text_color_dark="white",
        block_label_background_fill_dark="*primary_800",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_300",
    )
