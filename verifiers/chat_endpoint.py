"""One request to an OpenAI-compatible chat endpoint: retries, time limits, and a key that is never shown."""

from __future__ import annotations

import io
import json
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from socket import SHUT_RDWR, socket
from threading import Timer
from time import sleep
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from .base import VerifierUnavailable

LONGEST_WAIT = 60.0
"""Seconds. An endpoint that asks for a longer wait is given up."""


class AnswerError(RuntimeError):
    """This request got no answer that can be used; another may."""


@dataclass(frozen=True)
class _Failure:
    reason: str
    retry: bool
    of_all: bool
    """Whether every other request would fail in the same way."""
    wait: float | None = None
    """Seconds that the endpoint asks to wait."""


class ChatEndpoint:
    """Posts to `{base_url}/chat/completions`.

    Args:
        base_url: such as "https://api.openai.com/v1" or "http://localhost:8000/v1"; a query (?api-version=...) is kept.
        api_key: sent as a bearer token to this address alone (redirections are refused); None: none is sent.
        timeout: seconds to connect, and seconds from then on for the whole answer, per attempt: an endpoint that sends
            it drop by drop is cut off as one that sends nothing.
        retries: attempts after the first, on 408, 429, 5xx, time-outs and broken connections.
        backoff: seconds before the first retry; doubled at each. A `Retry-After` of the endpoint takes its place.

    Raises:
        ValueError: for an address that is not http(s) or holds a user or password, or a key that no header can carry.
    """

    def __init__(
        self, base_url: str, api_key: str | None = None, timeout: float = 60.0, retries: int = 3, backoff: float = 1.0
    ):
        if not _is_address(base_url):
            raise ValueError(
                "the base URL of a chat endpoint must read http(s)://HOST/PATH, without user or password, such as "
                "http://localhost:8000/v1"
            )
        key = (api_key or "").strip()
        # http.client names an unfit header in its error, key and all.
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the API key has characters that no header can carry; copy it again")
        if retries < 0 or timeout <= 0 or backoff < 0:
            raise ValueError(
                f"timeout={timeout:g} s must be above 0, and retries={retries} and backoff={backoff:g} s not below it"
            )
        parts = urlsplit(base_url)
        path = parts.path.rstrip("/") + "/chat/completions"
        self.address = parts._replace(path=path, query="", fragment="").geturl()
        self.timeout, self.retries, self.backoff = timeout, retries, backoff
        self._url = parts._replace(path=path, fragment="").geturl()
        self._key = key
        self._opener = urllib.request.build_opener(_NoRedirection, _HTTPInTime, _HTTPSInTime)

    def __repr__(self) -> str:
        return f"ChatEndpoint({self.address!r})"

    def complete(self, body: Mapping[str, Any]) -> str:
        """Post a chat request and return the text of its first choice.

        Raises:
            AnswerError: where this request fails for good, or its answer has no text.
            VerifierUnavailable: where any request would: key refused, no such address or model, quota, host down.
        """
        answer = self._post(json.dumps(body).encode())
        try:
            message = json.loads(answer)["choices"][0]["message"]
            content = message["content"] or message.get("refusal")
            if isinstance(content, list):
                content = "".join(part.get("text", "") for part in content)
            if not isinstance(content, str):
                raise TypeError("no text")
        except (ValueError, LookupError, TypeError, AttributeError):
            text = answer.decode(errors="replace")
            raise AnswerError(f"{self.address} answered with no chat completion: {self.quote(text)}") from None
        return content

    def quote(self, text: str) -> str:
        """The beginning of a text of the endpoint on one line, for a message; the key is cut out where it is echoed."""
        line = " ".join((text.replace(self._key, "[key]") if self._key else text).split())
        return repr(line if len(line) <= 200 else line[:200] + "...")

    def _post(self, data: bytes) -> bytes:
        attempt = 0
        while True:
            clock = _Clock(self.timeout)
            try:
                with clock:
                    return self._answer(data, clock)
            except HTTPError as error:
                with error:
                    failure = self._refused(error)
            except URLError as error:
                unreached = _Failure(f"cannot be reached: {error.reason}", retry=True, of_all=True)
                failure = self._late if clock.is_over else unreached
            except TimeoutError:
                failure = self._late
            except (OSError, HTTPException) as error:
                broken = _Failure(f"broke off: {type(error).__name__}", retry=True, of_all=False)
                failure = self._late if clock.is_over else broken
            wait = min(self.backoff * 2**attempt, LONGEST_WAIT) if failure.wait is None else failure.wait
            if not failure.retry or attempt == self.retries or wait > LONGEST_WAIT:
                break
            sleep(wait)
            attempt += 1
        tries = f" (after {attempt + 1} attempts)" if attempt else ""
        raise (VerifierUnavailable if failure.of_all else AnswerError)(f"{self.address} {failure.reason}{tries}")

    @property
    def _late(self) -> _Failure:
        return _Failure(f"gave no answer within {self.timeout:g} s", retry=True, of_all=False)

    def _answer(self, data: bytes, clock: _Clock) -> bytes:
        request = self._request(data)
        request.clock = clock
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                answer = response.read()
        except HTTPError as error:
            with error:
                said = _body(error)  # while the clock runs
            raise HTTPError(error.url, error.code, error.msg, error.headers, io.BytesIO(said)) from None
        if clock.is_over:  # an answer without a length ends where it is cut off
            raise TimeoutError
        return answer

    def _request(self, data: bytes) -> urllib.request.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "samplesmith"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return urllib.request.Request(self._url, data, headers, method="POST")

    def _refused(self, error: HTTPError) -> _Failure:
        if error.code in (401, 403):
            # What the endpoint says here may hold a part of the key.
            what = "refuses the API key" if self._key else "wants an API key"
            return _Failure(f"{what} (HTTP {error.code})", retry=False, of_all=True)
        text = error.read().decode(errors="replace")
        said = f": {self.quote(_error_message(text))}" if text else ""
        wait = _seconds(error.headers.get("Retry-After"))
        asked = f" and asks to wait {wait:.0f} s" if wait is not None else ""
        busy, broken = error.code == 429, error.code == 408 or error.code >= 500
        of_all = busy or error.code in (404, 405) or 300 <= error.code < 400
        return _Failure(f"answered HTTP {error.code}{asked}{said}", busy or broken, of_all, wait)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
        )
    except ValueError:  # a port that is no number, half an IPv6 address
        return False


class _Clock:
    """Cuts a connection off when its time is over; `with` ends it."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.is_over = False
        self._timer: Timer | None = None

    def start(self, connection: socket) -> None:
        """Begin to count for a connection, from now on."""
        self._timer = Timer(self.seconds, self._end, [connection])
        self._timer.daemon = True
        self._timer.start()

    def _end(self, connection: socket) -> None:
        self.is_over = True
        with suppress(OSError):
            # Below TLS, whose own shutdown would wait for an answer.
            socket.shutdown(connection, SHUT_RDWR)

    def __enter__(self) -> _Clock:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _timed(kind: type[HTTPConnection], clock: _Clock) -> Callable[..., HTTPConnection]:
    class Timed(kind):  # type: ignore[valid-type, misc]
        def connect(self) -> None:
            super().connect()
            clock.start(self.sock)

    return Timed


class _HTTPInTime(urllib.request.HTTPHandler):
    def http_open(self, request: Any) -> Any:
        return self.do_open(_timed(HTTPConnection, request.clock), request)


class _HTTPSInTime(urllib.request.HTTPSHandler):
    def https_open(self, request: Any) -> Any:
        return self.do_open(_timed(HTTPSConnection, request.clock), request)


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    """A redirected request would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _body(error: HTTPError) -> bytes:
    try:
        return error.read()
    except (OSError, HTTPException):
        return b""


def _error_message(body: str) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return body


def _seconds(retry_after: str | None) -> float | None:
    """Seconds of a `Retry-After` header: a number, or a date."""
    if retry_after is None:
        return None
    try:
        if retry_after.strip().isdecimal():
            return float(retry_after)
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
