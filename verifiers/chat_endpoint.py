"""One request to an OpenAI-compatible chat endpoint: retries, time limits, and a key that is never shown."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from socket import SHUT_RDWR, socket
from threading import Timer
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import httpx

from .base import VerifierUnavailable

LONGEST_WAIT = 60.0
"""Seconds. An endpoint that asks for a longer wait is not waited for."""


class AnswerError(RuntimeError):
    """This request got no usable answer; another request may."""


@dataclass(frozen=True)
class _Failure:
    reason: str
    retry: bool
    of_all: bool
    """Whether every other request would fail in the same way."""
    wait: float | None = None
    """Seconds that the endpoint asks to wait."""


class ChatEndpoint:
    """Posts to `{base_url}/chat/completions`, from any number of threads.

    One `httpx.Client` serves all requests (certificates, proxies of the environment, headers). Each request has a
    connection of its own, which is cut off when its time is over: httpx limits the wait for each part of an answer, and
    not for the whole. Retries are ours, as httpx's transport retries connections alone and reads no `Retry-After`.

    Args:
        base_url: such as "https://api.openai.com/v1" or "http://localhost:8000/v1"; a query (?api-version=...) is kept.
        api_key: sent as a bearer token to this address alone (redirections are refused); None: none is sent.
        timeout: seconds to connect, and seconds from then on for the whole answer, per attempt: an endpoint that sends
            its answer drop by drop is cut off like one that sends nothing.
        retries: attempts after the first, on 408, 429, 5xx, time-outs and broken connections.
        backoff: seconds before the first retry, doubled with each retry. A `Retry-After` of the endpoint replaces it.

    Raises:
        ValueError: for an address that is not http(s) or holds a user or password, a key that no header can carry, or
            a proxy in the environment that httpx cannot use.
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
        # A library may name an unfit header in its error, key and all.
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
        self._client = _client(key, timeout)

    def __repr__(self) -> str:
        return f"ChatEndpoint({self.address!r})"

    def complete(self, body: Mapping[str, Any]) -> str:
        """Post a chat request and return the text of its first choice.

        Raises:
            AnswerError: where this request fails for good, or its answer has no text.
            VerifierUnavailable: where every request would: key refused, no such address or model, quota, host down.
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
        """The beginning of a text from the endpoint on one line, for a message, without the key if it is echoed."""
        line = " ".join((text.replace(self._key, "[key]") if self._key else text).split())
        return repr(line if len(line) <= 200 else line[:200] + "...")

    def _post(self, data: bytes) -> bytes:
        attempt = 0
        while isinstance(answer := self._attempt(data), _Failure):
            wait = min(self.backoff * 2**attempt, LONGEST_WAIT) if answer.wait is None else answer.wait
            if not answer.retry or attempt == self.retries or wait > LONGEST_WAIT:
                tries = f" (after {attempt + 1} attempts)" if attempt else ""
                raise (VerifierUnavailable if answer.of_all else AnswerError)(f"{self.address} {answer.reason}{tries}")
            sleep(wait)
            attempt += 1
        return answer

    def _attempt(self, data: bytes) -> bytes | _Failure:
        clock = _Clock(self.timeout)
        request = self._client.stream("POST", self._url, content=data, extensions={"trace": clock.watch})
        try:
            with clock, request as response:
                if not response.is_success:
                    return self._refused(response)
                answer = response.read()
            if not clock.is_over:  # an answer without a length ends where it is cut off
                return answer
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            return _Failure(f"cannot be reached: {error}", retry=True, of_all=True)
        except httpx.TimeoutException:
            pass
        except httpx.RequestError as error:
            if not clock.is_over:
                return _Failure(f"broke off: {type(error).__name__}", retry=True, of_all=False)
        return _Failure(f"gave no answer within {self.timeout:g} s", retry=True, of_all=False)

    def _refused(self, response: httpx.Response) -> _Failure:
        code, headers = response.status_code, response.headers
        if code in (401, 403):
            # What the endpoint says here may hold a part of the key.
            what = "refuses the API key" if self._key else "wants an API key"
            return _Failure(f"{what} (HTTP {code})", retry=False, of_all=True)
        text = ""
        with suppress(httpx.RequestError):  # the status alone is an answer
            text = response.read().decode(errors="replace")
        said = f": {self.quote(_error_message(text))}" if text else ""
        wait = _seconds(headers.get("Retry-After"))
        pause = f" and asks to wait {wait:.0f} s" if wait is not None else ""
        busy, broken = code == 429, code == 408 or code >= 500
        of_all = busy or code in (404, 405) or 300 <= code < 400
        return _Failure(f"answered HTTP {code}{pause}{said}", busy or broken, of_all, wait)


def _client(key: str, timeout: float) -> httpx.Client:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "samplesmith"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    try:
        return httpx.Client(
            headers=headers,
            timeout=timeout,
            # Certificates as the system has them; httpx's default are those of certifi alone.
            verify=ssl.create_default_context(),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            follow_redirects=False,  # a redirected request could carry the key to another host
        )
    except (ValueError, ImportError) as error:
        raise ValueError(f"the proxy that the environment names cannot be used: {error}") from error


def _is_address(url: str) -> bool:
    try:
        httpx.URL(url)
        parts = urlsplit(url)
        return (
            parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc and parts.port != 0
        )
    except (ValueError, httpx.InvalidURL):  # a port that is no number, half an IPv6 address
        return False


class _Clock:
    """Cuts a connection off when its time is over; `with` ends it."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.is_over = False
        self._timer: Timer | None = None

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Begin to count when a connection is made: httpx's `trace` of a request."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._cancel()
            self._timer = Timer(self.seconds, self._end, [info["return_value"].get_extra_info("socket")])
            self._timer.daemon = True
            self._timer.start()

    def _end(self, connection: socket) -> None:
        self.is_over = True
        with suppress(OSError):
            # Below TLS, whose own shutdown would wait for an answer.
            socket.shutdown(connection, SHUT_RDWR)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def __enter__(self) -> _Clock:
        return self

    def __exit__(self, *_: object) -> None:
        self._cancel()


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
