"""Visitors in line for the models: one works at a time, the others see their place, and anyone may leave."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from .model_calls import before_calls

_LOOK = 0.3
"""Seconds between two looks at a place in line."""

_REMEMBERED = 8
"""Turns by which the next ones are timed."""

_END = object()


class Stopped(Exception):
    """The visitor cancelled or left."""


class FullError(ValueError):
    """The line is full."""


@dataclass(frozen=True)
class Waiting:
    """A turn's place.

    Attributes:
        before: how many are served before it.
        seconds: how long that takes, by the turns so far; None before there were any.
    """

    before: int
    seconds: float | None = None


class Turn:
    """One visitor's work, in line or under way.

    Attributes:
        future: its result.
        notes: what the library warned of meanwhile, once it has ended.
    """

    def __init__(self) -> None:
        self.future: Future[Any]
        self.notes: list[str] = []
        self._stop = threading.Event()
        self._reports: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def report(self, news: Any) -> None:
        """Called by the work: hand something on to whoever follows the turn."""
        self._reports.put(news)

    def stop(self) -> None:
        """Leave the line, or end the work at its next step."""
        self._stop.set()
        if self.future.cancel():
            self._reports.put(_END)

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stops(self, pipe: Any) -> AbstractContextManager[None]:
        """While the context is open, the pipeline's next model call raises `Stopped` once the turn is stopped.

        It holds for any pipeline, and its call stays as a script would make it.
        """

        def look() -> None:
            if self.stopped:
                raise Stopped

        return before_calls(pipe, look)


Work = Callable[[Turn], Any]
"""What a turn does; it may report, and its result is the turn's."""


class Line:
    """One thread that does all heavy work, first come, first served.

    It is always the same thread: the pools and memory that torch keeps for a thread are kept once.

    Args:
        most: turns in line, the one under way included.
    """

    def __init__(self, most: int):
        self.most = most
        self._turns: list[Turn] = []
        self._lock = threading.Lock()
        self._lasted: deque[float] = deque(maxlen=_REMEMBERED)
        self._began = 0.0
        self._closed = False
        self._thread = ThreadPoolExecutor(1, "samplesmith")

    def join(self, work: Work) -> Turn:
        """Put work in line.

        Raises:
            FullError: with a sentence for the visitor.
        """
        turn = Turn()
        with self._lock:
            if self._closed:
                raise FullError("the page is being closed; start it again")
            if len(self._turns) >= self.most:
                raise FullError(f"{len(self._turns)} visitors are in line already; please try again in a minute")
            self._turns.append(turn)
            turn.future = self._thread.submit(self._do, work, turn)
        turn.future.add_done_callback(lambda _: self._leave(turn))
        return turn

    def _do(self, work: Work, turn: Turn) -> Any:
        self._began = time.monotonic()
        try:
            return work(turn)
        finally:
            self._lasted.append(time.monotonic() - self._began)
            turn._reports.put(_END)

    def _leave(self, turn: Turn) -> None:
        with self._lock:
            self._turns.remove(turn)

    def follow(self, turn: Turn) -> Iterator[Any]:
        """What is new of a turn: `Waiting` when its place changes, and what its work reports. Returns the result.

        Raises:
            Stopped: where it was stopped.
            Exception: what its work raised.
        """
        shown = None
        while True:
            try:
                news = turn._reports.get(timeout=_LOOK)
            except queue.Empty:
                place = self._place(turn)
                if place and place != shown:
                    shown = place
                    yield Waiting(place, self._seconds(place))
                continue
            if news is _END:
                break
            yield news
        try:
            return turn.future.result()
        except CancelledError:
            raise Stopped from None

    def _place(self, turn: Turn) -> int:
        with self._lock:
            return self._turns.index(turn) if turn in self._turns else 0

    def _seconds(self, before: int) -> float | None:
        """How long so many turns take, the one under way among them; None before one has ended."""
        lasted = list(self._lasted)
        if not lasted:
            return None
        mean = sum(lasted) / len(lasted)
        return max(before * mean - (time.monotonic() - self._began), mean / 2)

    def close(self) -> None:
        """Stop whatever is in line, and take nothing more."""
        with self._lock:
            self._closed = True
            turns = list(self._turns)
        for turn in turns:
            turn.stop()
        self._thread.shutdown(wait=True, cancel_futures=True)
