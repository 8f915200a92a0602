"""What every tab's run has: a start, a cancel, a line of status, and errors told in one sentence."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from .line import Stopped, Turn, Waiting
from .models import Loading
from .pictures import notice
from .studio import Studio, told
from .visitors import BusyError
from .words import refusal

Update = dict[Any, Any]
"""New values of components, as gradio's handlers yield them."""

RUN: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden", "preprocess": False}
"""Settings of an event that does heavy work: the studio's line, not gradio's, lets one in at a time.

Values come as they were sent: the requests' own checks answer for all of them, in one sentence each.
"""

LIGHT: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Settings of an event that only changes the page."""


def named(run: Callable[..., Iterator[Update]], names: Iterable[str]) -> Callable[..., Iterator[Update]]:
    """A tab's `run(request, *values)` as programs see it that call the API: each value by its name.

    Args:
        run: takes the request first.
        names: of the values, in their order.
    """

    def call(request: gr.Request, *values: Any) -> Iterator[Update]:
        yield from run(request, *values)

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    given = [inspect.Parameter(name, kind) for name in names]
    signature = inspect.Signature([inspect.Parameter("request", kind, annotation=gr.Request), *given])
    call.__dict__["__signature__"] = signature
    call.__annotations__["request"] = gr.Request  # not its name: gradio hands it over by the class
    return call


def seconds_text(seconds: float) -> str:
    """A duration as a person says it: in minutes from two of them."""
    if seconds < 1:
        return f"{seconds:.2g} s"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


class RunControls:
    """Keeps a tab's buttons right while a run is under way.

    Args:
        studio: of the page.
        tab: its title; a visitor has one run in each tab.
        status: where sentences are shown.
        start: begins a run.
        cancel: stops it at its next step.
        others: more buttons that begin runs.
    """

    def __init__(
        self,
        studio: Studio,
        tab: str,
        status: gr.HTML,
        start: gr.Button,
        cancel: gr.Button,
        others: Sequence[gr.Button] = (),
    ):
        self.studio, self.tab, self.status = studio, tab, status
        self.starts, self.cancel = [start, *others], cancel
        cancel.click(self.stop, **LIGHT)

    @property
    def outputs(self) -> list[Any]:
        """Components that every update may change."""
        return [self.status, *self.starts, self.cancel]

    def busy(self, text: str = "Waiting for the models ...") -> Update:
        """A run begins."""
        return {
            self.status: notice(text, "busy"),
            self.cancel: gr.Button(interactive=True),
            **{button: gr.Button(interactive=False) for button in self.starts},
        }

    def idle(self) -> Update:
        """A run has ended."""
        return {
            self.cancel: gr.Button(interactive=False),
            **{button: gr.Button(interactive=True) for button in self.starts},
        }

    def stop(self, request: gr.Request) -> None:
        """End the visitor's run of this tab."""
        self.studio.cancel(request.session_hash, self.tab)

    def follow(
        self, session: str | None, work: Callable[[Path, Turn], Any], show: Callable[[Any], Update]
    ) -> Generator[Update, None, Any]:
        """Run a visitor's work, show what comes of it, and return its result.

        Args:
            session: the browser's name for the visit.
            work: is given a folder of its own and the visitor's turn.
            show: the update for a piece of news that the work reports.
        """
        following = self.studio.run(session, self.tab, work)
        while True:
            try:
                news = next(following)
            except StopIteration as end:
                return end.value
            if isinstance(news, Waiting):
                others = "1 visitor is" if news.before == 1 else f"{news.before} visitors are"
                wait = "" if news.seconds is None else f", about {seconds_text(news.seconds)}"
                yield {self.status: notice(f"{others} before you in line{wait}.", "busy")}
            elif isinstance(news, Loading):
                yield {self.status: notice(f"Loading {', '.join(news.names)} (only this first time) ...", "busy")}
            else:
                yield show(news)

    def guarded(self, updates: Iterable[Update]) -> Iterator[Update]:
        """The updates of a run; where it fails, one sentence in the page and to programs that call it.

        Raises:
            gr.Error: with that sentence.
        """
        try:
            yield from updates
        except Stopped:
            yield {self.status: notice("Cancelled."), **self.idle()}
        except BusyError as error:  # the buttons are the other run's
            yield {self.status: notice(str(error), "wrong")}
            raise gr.Error(str(error), visible=False, print_exception=False) from None
        except Exception as error:
            sentence = told(error)
            yield {self.status: refusal(error, sentence), **self.idle()}
            raise gr.Error(sentence, visible=False, print_exception=False) from None
