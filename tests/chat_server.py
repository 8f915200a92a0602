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
            one serves all that follow. A body that is no string is sent as JSON.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
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
                data = (body if isinstance(body, str) else json.dumps(body)).encode()
                try:
                    self.send_response(status)
                    for name, value in {"Content-Length": str(len(data)), **headers}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:  # the client gave up
                    pass

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def says(text):
    return lambda _: (200, {}, completion(text))


def fails(status, body="{}", **headers):
    return lambda _: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)
