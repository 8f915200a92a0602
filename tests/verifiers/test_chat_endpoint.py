import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from chat_server import ChatServer, completion, fails, says
from samplesmith.verifiers import VerifierUnavailable, chat_endpoint
from samplesmith.verifiers.chat_endpoint import AnswerError, ChatEndpoint

KEY = "sk-secret-0123456789"
BODY = {"model": "m", "messages": []}


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def waits(monkeypatch):
    """The seconds that were slept, which are not slept."""
    slept = []
    monkeypatch.setattr(chat_endpoint, "sleep", slept.append)
    return slept


def test_it_posts_to_chat_completions_with_the_key():
    with ChatServer(says("hello")) as server:
        assert ChatEndpoint(server.url + "/?version=1", KEY).complete(BODY) == "hello"
    assert server.paths == ["/v1/chat/completions?version=1"]
    assert server.requests == [BODY]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_no_authorization_is_sent():
    with ChatServer(says("hello")) as server:
        ChatEndpoint(server.url).complete(BODY)
    assert "Authorization" not in server.headers[0]


def test_an_answer_in_parts_is_joined():
    with ChatServer(says([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])) as server:
        assert ChatEndpoint(server.url).complete(BODY) == "ab"


def test_500_then_success(waits):
    with ChatServer(fails(500), fails(503), says("at last")) as server:
        assert ChatEndpoint(server.url, backoff=0.5).complete(BODY) == "at last"
    assert waits == [0.5, 1.0]


def test_500_for_good_is_one_sentence(waits):
    with (
        ChatServer(fails(500, '{"error": {"message": "CUDA\\nerror"}}')) as server,
        pytest.raises(AnswerError, match=r"answered HTTP 500: 'CUDA error' \(after 3 attempts\)$"),
    ):
        ChatEndpoint(server.url, retries=2).complete(BODY)
    assert len(server.requests) == 3
    assert waits == [1.0, 2.0]


def test_429_waits_as_long_as_it_is_told(waits):
    with ChatServer(fails(429, Retry_After="7"), says("now")) as server:
        assert ChatEndpoint(server.url).complete(BODY) == "now"
    assert waits == [7.0]


def test_retry_after_may_be_a_date(waits):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    with ChatServer(fails(503, Retry_After=date), fails(503, Retry_After="soon"), says("now")) as server:
        ChatEndpoint(server.url, backoff=0.25).complete(BODY)
    assert 20 < waits[0] <= 30
    assert waits[1] == 0.5


def test_the_wait_is_real():
    assert chat_endpoint.sleep is time.sleep


def test_a_wait_of_an_hour_is_given_up(waits):
    with (
        ChatServer(fails(429, Retry_After="3600")) as server,
        pytest.raises(VerifierUnavailable, match="answered HTTP 429 and asks to wait 3600 s"),
    ):
        ChatEndpoint(server.url).complete(BODY)
    assert waits == []


def test_a_time_out_is_tried_again(waits):
    def late(_):
        time.sleep(0.5)
        return 200, {}, completion("late")

    with ChatServer(late, says("in time")) as server:
        assert ChatEndpoint(server.url, timeout=0.1).complete(BODY) == "in time"
    with (
        ChatServer(late) as server,
        pytest.raises(AnswerError, match=r"gave no answer within 0.1 s \(after 2 attempts\)"),
    ):
        ChatEndpoint(server.url, timeout=0.1, retries=1).complete(BODY)


class Drops:
    """A text that comes drop by drop, for longer than anyone waits.

    Attributes:
        has_ended: whether all drops were asked for: nobody gave up before.
    """

    def __init__(self, part, count=200, seconds=0.05):
        self.part, self.count, self.seconds = part, count, seconds
        self.has_ended = False

    def __iter__(self):
        for _ in range(self.count):
            yield self.part
            time.sleep(self.seconds)
        self.has_ended = True


@pytest.mark.parametrize("headers", [{}, {"Content-Length": None, "Connection": "close"}])
def test_an_answer_that_drips_does_not_outlast_the_time(headers, waits):
    drops = Drops(b" ")
    with ChatServer(lambda _: (200, headers, drops)) as server:
        with pytest.raises(AnswerError, match=r"gave no answer within 0\.4 s"):
            ChatEndpoint(server.url, timeout=0.4, retries=0).complete(BODY)
        assert not drops.has_ended


def test_a_refusal_that_drips_does_not_outlast_the_time_and_is_still_a_refusal(waits):
    drops = Drops(b" ")
    with ChatServer(lambda _: (400, {}, drops)) as server:
        with pytest.raises(AnswerError, match="answered HTTP 400"):
            ChatEndpoint(server.url, timeout=0.4, retries=0).complete(BODY)
        assert not drops.has_ended


def test_headers_that_drip_do_not_outlast_the_time(waits):
    drops = Drops(b"X")
    with DrippingServer(drops) as url:
        with pytest.raises(AnswerError, match=r"gave no answer within 0\.4 s \(after 2 attempts\)"):
            ChatEndpoint(url, timeout=0.4, retries=1).complete(BODY)
        assert not drops.has_ended


class DrippingServer:
    """Sends a status line and then headers without end, a byte at a time."""

    def __init__(self, drops):
        self._drops = drops

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._drip, args=[connection], daemon=True).start()

    def _drip(self, connection):
        with contextlib.suppress(OSError), connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            for part in self._drops:
                connection.sendall(part)

    def __exit__(self, *_):
        self._listener.close()


@pytest.fixture
def tls(tmp_path, monkeypatch):
    """A server's context with a certificate of its own, which clients trust."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    made = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made.split(), *names], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return context


def test_over_https_too_it_is_answered_or_cut_off(tls, waits, monkeypatch):
    drops = Drops(b" ")
    with ChatServer(says("hello"), lambda _: (200, {}, drops), tls=tls) as server:
        assert ChatEndpoint(server.url, KEY).complete(BODY) == "hello"
        with pytest.raises(AnswerError, match=r"gave no answer within 0\.4 s"):
            ChatEndpoint(server.url, timeout=0.4, retries=0).complete(BODY)
        assert not drops.has_ended
        monkeypatch.delenv("SSL_CERT_FILE")
        with pytest.raises(VerifierUnavailable, match=r"cannot be reached: .*certificate"):
            ChatEndpoint(server.url, retries=0).complete(BODY)


def test_a_slow_answer_in_time_is_taken(waits):
    text = json.dumps(completion("in time")).encode()
    slow = (text[k : k + 20] for k in range(0, len(text), 20))
    with ChatServer(lambda _: (200, {"Content-Length": str(len(text))}, slow)) as server:
        assert ChatEndpoint(server.url, timeout=5).complete(BODY) == "in time"
    assert waits == []


def test_an_answer_that_breaks_off_is_tried_again(waits):
    with ChatServer(lambda _: (200, {"Content-Length": "1000"}, "{"), says("whole")) as server:
        assert ChatEndpoint(server.url, timeout=5).complete(BODY) == "whole"
    assert waits == [1.0]


def test_a_host_that_is_down_is_unavailable(waits):
    with ChatServer(says("hello")) as server:
        pass
    with pytest.raises(VerifierUnavailable, match=r"cannot be reached: .*refused"):
        ChatEndpoint(server.url, retries=1).complete(BODY)
    assert len(waits) == 1


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    with ChatServer(says("by the proxy")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url.removesuffix("/v1"))
        assert ChatEndpoint("http://models.invalid/v1").complete(BODY) == "by the proxy"
    assert proxy.paths == ["http://models.invalid/v1/chat/completions"]


def test_a_proxy_that_cannot_be_used_is_one_sentence(monkeypatch):
    monkeypatch.setenv("http_proxy", "gopher://127.0.0.1")
    with pytest.raises(ValueError, match=r"the proxy that the environment names cannot be used: .*gopher"):
        ChatEndpoint("http://models.invalid/v1")


def test_many_requests_run_at_once_on_one_client():
    meet = threading.Barrier(120, timeout=30)

    def answer(body):
        meet.wait()
        return 200, {}, completion(body["model"])

    with ChatServer(answer) as server, ThreadPoolExecutor(120) as pool:
        endpoint = ChatEndpoint(server.url)
        names = [str(k) for k in range(120)]
        assert list(pool.map(lambda name: endpoint.complete({**BODY, "model": name}), names)) == names


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_one_sentence_without_the_key(status, waits):
    body = f'{{"error": {{"message": "Incorrect API key provided: {KEY}"}}}}'
    with ChatServer(fails(status, body)) as server, pytest.raises(VerifierUnavailable) as caught:
        ChatEndpoint(server.url, KEY).complete(BODY)
    assert str(caught.value) == f"{server.url}/chat/completions refuses the API key (HTTP {status})"
    assert caught.value.__context__ is None
    assert len(server.requests) == 1
    assert waits == []


def test_a_missing_key_is_said():
    with ChatServer(fails(401)) as server, pytest.raises(VerifierUnavailable, match="wants an API key"):
        ChatEndpoint(server.url).complete(BODY)


def test_an_unknown_model_is_unavailable_in_the_endpoints_words():
    with (
        ChatServer(fails(404, '{"error": {"message": "no model m"}}')) as server,
        pytest.raises(VerifierUnavailable, match="answered HTTP 404: 'no model m'"),
    ):
        ChatEndpoint(server.url).complete(BODY)


def test_the_key_is_not_carried_to_another_address():
    with ChatServer(says("stolen")) as thief:
        moved = fails(302, Location=f"{thief.url}/chat/completions")
        with ChatServer(moved) as server, pytest.raises(VerifierUnavailable, match="answered HTTP 302"):
            ChatEndpoint(server.url, KEY).complete(BODY)
    assert thief.requests == []


@pytest.mark.parametrize(
    "body", ["", "<html>", "[]", '{"choices": []}', '{"choices": [{"message": {"content": null}}]}', '{"choices": 3}']
)
def test_malformed_answers_are_one_sentence(body):
    with (
        ChatServer(lambda _: (200, {}, body)) as server,
        pytest.raises(AnswerError, match="answered with no chat completion") as caught,
    ):
        ChatEndpoint(server.url).complete(BODY)
    assert "\n" not in str(caught.value)


def test_an_echoed_key_is_cut_out():
    with ChatServer(fails(400, f"bad header Bearer {KEY}")) as server, pytest.raises(AnswerError) as caught:
        ChatEndpoint(server.url, KEY).complete(BODY)
    assert str(caught.value).endswith("answered HTTP 400: 'bad header Bearer [key]'")


def test_the_key_and_the_query_are_not_in_the_repr():
    assert repr(ChatEndpoint("https://example.org/v1?code=hidden", KEY)) == (
        "ChatEndpoint('https://example.org/v1/chat/completions')"
    )


@pytest.mark.parametrize("key", [f"{KEY}\nX-Evil: 1", "schlüssel", f"{KEY}\x00"])
def test_a_key_that_no_header_can_carry_is_refused_unsaid(key):
    with pytest.raises(ValueError, match="the API key has characters that no header can carry") as caught:
        ChatEndpoint("http://localhost/v1", key)
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "file:///etc/passwd", "http://", "http://a:b@c/v1", "http://h:port/v1", "http://[::1"]
)
def test_other_addresses_are_one_sentence(url):
    with pytest.raises(ValueError, match="must read http"):
        ChatEndpoint(url)


@pytest.mark.parametrize("numbers", [{"retries": -1}, {"timeout": 0}, {"backoff": -1.0}])
def test_impossible_numbers_are_one_sentence(numbers):
    with pytest.raises(ValueError, match="must be above 0"):
        ChatEndpoint("http://localhost/v1", **numbers)
