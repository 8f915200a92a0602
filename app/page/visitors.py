"""Who is on the page: each visitor has a folder and turns of their own, and leaves nothing behind."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from .line import Turn

HOME_PREFIX = "samplesmith-web-"
"""The name of a page's folder of visitors begins with it."""

IDLE = 3600.0
"""Seconds after which a visitor who was never seen to leave, such as a script, is taken to have left."""


class BusyError(ValueError):
    """The visitor has a run under way in the tab."""


class Visitor:
    """One open page.

    Attributes:
        folder: holds what the visitor's runs wrote. Its name is random: the page's own name for a session, which the
            browser chooses, never becomes a path.
        has_page: whether a browser holds the page open; it tells when it leaves, which a script does not.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.seen = time.monotonic()
        self.has_page = False
        self._turns: dict[str, Turn] = {}
        self._left = False
        self._lock = threading.RLock()

    def begin(self, tab: str, join: Callable[[Path], Turn]) -> Turn:
        """Begin a run in a tab; of requests that come at once, one does.

        Args:
            join: puts the work in line, given an empty folder for its files.

        Raises:
            BusyError: while a run of the tab is under way.
        """
        with self._lock:
            turn = join(self.new_folder(tab))
            self.began(tab, turn)
            return turn

    def new_folder(self, tab: str) -> Path:
        """An empty folder for a run in a tab, in place of the tab's last one.

        Raises:
            BusyError: while a run of the tab is under way.
        """
        with self._lock:
            if (turn := self._turns.get(tab)) is not None and not turn.future.done():
                raise BusyError("your last run here is still under way; cancel it or wait for its end")
        place = self.folder / tab.replace(" ", "-").lower()
        shutil.rmtree(place, ignore_errors=True)
        # Another name each time: a browser must not show the last run's pictures.
        run = place / secrets.token_hex(4)
        run.mkdir(parents=True)
        return run

    def began(self, tab: str, turn: Turn) -> None:
        """Remember the run under way in a tab."""
        with self._lock:
            self._turns[tab] = turn
        if self._left:
            self.leave()

    def cancel(self, tab: str) -> None:
        """Stop the run of a tab where there is one."""
        if (turn := self._turns.get(tab)) is not None:
            turn.stop()

    @property
    def busy(self) -> bool:
        return any(not turn.future.done() for turn in self._turns.values())

    def leave(self) -> None:
        """Stop all runs; the folder goes when the last of them has let go of it."""
        self._left = True
        for turn in self._turns.values():
            turn.stop()
            turn.future.add_done_callback(self._clean)
        self._clean()

    def _clean(self, _: object = None) -> None:
        if self._left and not self.busy:
            shutil.rmtree(self.folder, ignore_errors=True)


class Visitors:
    """All open pages, by the session's name, and the folder that holds their files."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix=HOME_PREFIX, ignore_cleanup_errors=True)
        self.home = Path(self._home.name).resolve()
        self._known: dict[str, Visitor] = {}
        self._lock = threading.Lock()

    def visitor(self, session: str) -> Visitor:
        """Who has this session, made where it is new."""
        with self._lock:
            self._forget_idle()
            if session not in self._known:
                self._known[session] = Visitor(self.home / secrets.token_hex(8))
            self._known[session].seen = time.monotonic()
            return self._known[session]

    def open(self, session: str) -> None:
        """A browser has opened the page."""
        self.visitor(session).has_page = True

    def leave(self, session: str) -> None:
        """The page of a session was closed."""
        with self._lock:
            gone = self._known.pop(session, None)
        if gone is not None:
            gone.leave()

    def _forget_idle(self) -> None:
        limit = time.monotonic() - IDLE
        idle = [name for name, one in self._known.items() if one.seen < limit and not (one.has_page or one.busy)]
        for name in idle:
            self._known.pop(name).leave()

    def close(self) -> None:
        """Everyone leaves."""
        for name in list(self._known):
            self.leave(name)
        self._home.cleanup()
