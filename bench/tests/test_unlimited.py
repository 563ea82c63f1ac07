"""No limit of the gateway stops a measurement, which one client makes without a token."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from kpi_bench.platform_stack import UNLIMITED
from kpi_bench.tables.platform import CONNECTIONS
from kpi_shared.testing.process import start_part


class SlowPosts(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        # So long that all connections wait at once.
        time.sleep(0.05)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the name in the base class
        """Nothing: the test says what matters."""


@pytest.fixture
def slow_posts() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), SlowPosts) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_searches_of_all_connections_at_once_are_served(slow_posts: str, tmp_path: Path) -> None:
    settings = {**UNLIMITED, "CONTENT_URL": slow_posts}
    with (
        start_part("kpi_gateway", settings, log=tmp_path / "gateway.log", is_patient=False) as address,
        httpx.Client(base_url=address, timeout=30, limits=httpx.Limits(max_connections=CONNECTIONS)) as client,
        ThreadPoolExecutor(CONNECTIONS) as pool,
    ):
        found = list(pool.map(lambda _: client.get("/api/v1/posts?search=bees&total=true"), range(4 * CONNECTIONS)))
    assert {response.status_code for response in found} == {200}
