"""A chat endpoint on this machine that answers as it is told, and keeps what it was asked."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def completion(text) -> dict:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


class ChatServer:
    """Serves on a free port inside a `with` block.

    Args:
        answers: functions of the request's JSON that return (status, headers, body), one a request in turn; the last
            one serves all that follow. A body is text, a dict that is sent as JSON, or parts in bytes that are sent one
            after the other. A header that is None is left out.
        tls: a context that makes it an https server.
    """

    def __init__(self, *answers, tls=None):
        self.answers, self.tls = list(answers), tls
        self.requests, self.headers, self.paths = [], [], []
        self._lock = threading.Lock()

    def __enter__(self):
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with owner._lock:
                    owner.requests.append(asked)
                    owner.headers.append(dict(self.headers))
                    owner.paths.append(self.path)
                    answer = owner.answers.pop(0) if len(owner.answers) > 1 else owner.answers[0]
                status, headers, body = answer(asked)
                parts = body
                if isinstance(body, (str, dict)):
                    parts = [(body if isinstance(body, str) else json.dumps(body)).encode()]
                length = str(len(parts[0])) if isinstance(parts, list) else "1000000"
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": length, **headers}.items():
                        if value is not None:
                            self.send_header(name, value)
                    self.end_headers()
                    for part in parts:
                        self.wfile.write(part)
                        self.wfile.flush()
                except OSError:  # the client gave up
                    pass

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if self.tls is not None:
            self._server.socket = self.tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self._server.server_port}/v1"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def says(text):
    return lambda _: (200, {}, completion(text))


def fails(status, body="{}", **headers):
    return lambda _: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
