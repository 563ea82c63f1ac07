"""``GET /metrics`` on a port of its own, in a thread beside the event loop, for scrapers inside and for nobody else."""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

log = structlog.get_logger(__name__)

PATH = "/metrics"
# A stop waits for no longer than this until the thread has seen it.
_POLL_SECONDS = 0.2


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    # With it two processes could have the port, and each scrape would get the numbers of one of them by chance.
    allow_reuse_port = False
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.registry = registry
        super().__init__((host, port), _Handler)

    def handle_error(self, _request: object, _client_address: object) -> None:
        # The base calls this where it has caught the exception.
        log.warning("scrape failed", exc_info=sys.exception())


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    # Seconds of silence after which a connection is given up.
    timeout = 5

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        encode, content_type = choose_encoder(self.headers.get("Accept", ""))
        body = encode(self.server.registry)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
        """A scrape every few seconds is no news."""


@contextmanager
def metrics_served(registry: CollectorRegistry, *, host: str, ports: range) -> Iterator[int | None]:
    """Serve on the first free one of the ports while the block runs; yields the port.

    Each process has a port of its own, and so each scrape the numbers of a process that it can name. Where no port is
    free the block runs all the same, with None: the service is worth more than its numbers.
    """
    server = _bound(registry, host, ports)
    if server is None:
        log.error("no metrics: all of their ports are taken", host=host, first=ports.start, last=ports[-1])
        yield None
        return
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_SECONDS,), name="metrics", daemon=True)
    thread.start()
    port = server.server_address[1]
    log.info("metrics served", host=host, port=port)
    try:
        yield int(port)
    finally:
        server.shutdown()
        server.server_close()


def _bound(registry: CollectorRegistry, host: str, ports: range) -> _Server | None:
    for port in ports:
        try:
            return _Server(host, port, registry)
        except OSError:
            continue
    return None
