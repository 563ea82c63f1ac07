"""A server that answers as a test wants it to, in place of a model."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StandIn:
    """``url`` is that of the API; ``requests`` are the bodies that came, ``headers`` the fields of each."""

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    # Set when the test ends, so that an answer that waits does not outlive it.
    ended: threading.Event = field(default_factory=threading.Event)


def completion(content: str) -> bytes:
    """A response of /chat/completions with this text of the model."""
    message = {"role": "assistant", "content": content}
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


def plan(*commands: object) -> bytes:
    return completion(json.dumps({"commands": commands}))


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def stand_in(answer: bytes | Callable[[BaseHTTPRequestHandler, StandIn], None]) -> Iterator[StandIn]:
    """Answers each request with these bytes, or as the function does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            here.requests.append(json.loads(self.rfile.read(size)))
            here.paths.append(self.path)
            here.headers.append(dict(self.headers))
            try:
                send(self, 200, answer) if isinstance(answer, bytes) else answer(self, here)
            except (BrokenPipeError, ConnectionResetError):
                # The client had seen enough.
                self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 its parent's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = StandIn(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield here
    finally:
        here.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
