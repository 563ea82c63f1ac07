"""``GET /metrics`` on a separate port, in its own thread, for scrapers of the internal network only."""

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
# How often the thread checks whether it is to stop.
_POLL_SECONDS = 0.2


class _Server(ThreadingMixIn, TCPServer):
    allow_reuse_address = True
    # Otherwise two processes could share the port, and each scrape would reach a random one of them.
    allow_reuse_port = False
    daemon_threads = True
    block_on_close = False

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.registry = registry
        super().__init__((host, port), _Handler)

    def handle_error(self, _request: object, _client_address: object) -> None:
        # The base class calls this in its exception handler.
        log.warning("scrape failed", exc_info=sys.exception())


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    # Seconds without data after which a connection is closed.
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
        """Do not log scrapes."""


@contextmanager
def serve_metrics(registry: CollectorRegistry, *, host: str, ports: range) -> Iterator[int | None]:
    """Serve on the first free port of the range while the block runs; yields the port.

    Each process has its own port, so that a scrape knows which process it reads. If no port is free, the block runs
    without metrics and gets None: the service matters more than its metrics.
    """
    server = _bind(registry, host, ports)
    if server is None:
        log.error("no metrics: all ports are in use", host=host, first=ports.start, last=ports[-1])
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


def _bind(registry: CollectorRegistry, host: str, ports: range) -> _Server | None:
    for port in ports:
        try:
            return _Server(host, port, registry)
        except OSError:
            continue
    return None
