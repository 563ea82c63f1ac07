"""The gateway while services crash, hang and return: with processes that are killed, suspended and started."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

import httpx
import pytest
from kpi_shared.testing.metrics import Scrape
from kpi_shared.testing.process import PartProcess, free_port, launch_part, wait_for_records, wait_until
from stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="these tests kill processes of their own"),
]
READERS = 4


@contextmanager
def content(stack: Stack, folder: Path, port: int | None = None) -> Iterator[PartProcess]:
    """Run another content service on the stack's own database; its log has every request."""
    settings = {**stack.settings["content"], "DEBUG": "true"}
    log = folder / f"content_{port or free_port()}.log"
    with launch_part("kpi_content", settings, log=log, port=port, is_patient=False) as part:
        yield part


@contextmanager
def gateway(stack: Stack, folder: Path, content_url: str, **settings: str) -> Iterator["Gateway"]:
    """Run another gateway for the stack's auth service and the given content services, with its metrics enabled."""
    assert stack.auth is not None
    metrics = free_port()
    urls = {**stack.upstreams, "CONTENT_URL": content_url, "RATE_LIMIT_ENABLED": "false"}
    given = {**urls, "METRICS_PORT": str(metrics), **settings}
    with (
        launch_part("kpi_gateway", given, log=folder / "gateway.log", is_patient=False) as part,
        httpx.Client(base_url=part.address, timeout=60, trust_env=False) as client,
    ):
        yield Gateway(part, client, metrics)


class Gateway:
    def __init__(self, part: PartProcess, client: httpx.Client, metrics: int) -> None:
        self.part = part
        self.client = client
        self.metrics = metrics

    def get(self, path: str = "/api/v1/posts") -> httpx.Response:
        return self.client.get(path)

    def in_flight(self) -> float:
        """The number of requests that the content service has not answered yet."""
        return Scrape.of(self.metrics).value("kpi_gateway_upstream_in_flight", upstream="content")


class Readers:
    """Clients that read continuously inside the ``with`` block, each in a thread of its own."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._over = threading.Event()
        self._threads = ThreadPoolExecutor(READERS)
        self.statuses: list[int] = []

    def __enter__(self) -> Self:
        self._running = [self._threads.submit(self._read) for _ in range(READERS)]
        return self

    def __exit__(self, *_exception: object) -> None:
        self._over.set()
        self._threads.shutdown()
        for reader in self._running:
            reader.result()

    def _read(self) -> None:
        with httpx.Client(base_url=self._address, timeout=60, trust_env=False) as client:
            while not self._over.is_set():
                self.statuses.append(client.get("/api/v1/posts").status_code)

    def wait_for_progress(self) -> None:
        """Wait until enough further requests are answered for each address to have had its turn."""
        enough = len(self.statuses) + 20 * READERS
        wait_until(lambda: len(self.statuses) >= enough)


def count_served(part: PartProcess) -> int:
    return sum(line.get("path") == "/posts" for line in part.lines())


def test_no_read_fails_when_one_of_two_services_is_killed_and_restarted(stack: Stack, tmp_path: Path) -> None:
    with content(stack, tmp_path) as one, ExitStack() as rest:
        other = rest.enter_context(content(stack, tmp_path))
        addresses = f"{one.address},{other.address}"
        through = rest.enter_context(gateway(stack, tmp_path, addresses, UPSTREAM_PROBE_INTERVAL="0.1"))
        with Readers(through.part.address) as readers:
            readers.wait_for_progress()
            for part in (one, other):
                wait_until(lambda part=part: count_served(part) > 0)
            one.kill()
            readers.wait_for_progress()
            with content(stack, tmp_path, one.port) as again:
                wait_until(lambda: count_served(again) > 0)
                readers.wait_for_progress()
        assert set(readers.statuses) == {200}
        for event in ("upstream address is out", "upstream address is back"):
            wait_for_records(through.part.log, event=event)


def test_a_service_that_is_down_affects_only_its_own_routes_until_it_is_back(stack: Stack, tmp_path: Path) -> None:
    with content(stack, tmp_path) as service, gateway(stack, tmp_path, service.address) as through:
        ready = through.get("/health/ready")
        working = ready.json()["checks"]
        assert (ready.status_code, set(working.values())) == (200, {"ok"})
        assert through.get().status_code == 200
        service.kill()
        down = through.get()
        assert (down.status_code, down.json()["type"]) == (502, "upstream-unreachable")
        assert down.json()["instance"] == down.headers["x-request-id"]
        assert through.client.post("/api/v1/posts", json={}).status_code == 502
        assert through.get("/api/v1/auth/me").status_code == 401
        ready = through.get("/health/ready")
        # A load balancer must not take out all gateways for it.
        assert ready.status_code == 200
        assert ready.json()["checks"] == {**working, "content": "upstream-unreachable"}
        with content(stack, tmp_path, service.port):
            assert through.get().status_code == 200
            assert through.get("/health/ready").json()["checks"] == working


def test_no_read_fails_when_one_of_two_services_is_frozen(stack: Stack, tmp_path: Path) -> None:
    with content(stack, tmp_path) as one, ExitStack() as rest:
        other = rest.enter_context(content(stack, tmp_path))
        through = rest.enter_context(gateway(stack, tmp_path, f"{one.address},{other.address}"))
        with Readers(through.part.address) as readers:
            readers.wait_for_progress()
            with one.suspend():
                wait_for_records(through.part.log, event="upstream address is out")
                readers.wait_for_progress()
            wait_for_records(through.part.log, event="upstream address is back")
            readers.wait_for_progress()
        assert set(readers.statuses) == {200}
        found = Scrape.of(through.metrics)
    assert found.value("kpi_gateway_upstream_removals_total", upstream="content", address=one.address) == 1
    assert found.value("kpi_gateway_upstream_removals_total", upstream="content", address=other.address) == 0


def test_a_service_that_hangs_is_a_504_after_the_timeout_of_its_route(stack: Stack, tmp_path: Path) -> None:
    rows = [
        {"prefix": "/posts", "upstream": "content", "read_timeout": 1.1},
        {"prefix": "/votes", "upstream": "content", "total_timeout": 0.2},
        {"prefix": "/auth", "upstream": "auth"},
    ]
    with (
        content(stack, tmp_path) as service,
        # No request in this test waits for the general timeout.
        gateway(stack, tmp_path, service.address, ROUTES=json.dumps(rows), UPSTREAM_READ_TIMEOUT="600") as through,
    ):
        assert through.get().status_code == 200
        with service.suspend(), ThreadPoolExecutor(1) as thread:
            hanging = thread.submit(through.get)
            wait_until(lambda: through.in_flight() == 1)
            assert through.get("/api/v1/auth/me").status_code == 401
            short = through.client.post("/api/v1/votes", json={})
            assert not hanging.done()
            late = hanging.result()
        for response in (short, late):
            assert (response.status_code, response.json()["type"]) == (504, "upstream-timeout")
        assert through.get().status_code == 200
        # Only this one took longer than the default of SLOW_REQUEST_SECONDS, one second.
        slow = wait_for_records(through.part.log, event="slow request")
        assert [line["request_id"] for line in slow] == [late.headers["x-request-id"]]
        assert (slow[0]["route"], slow[0]["status"], slow[0]["level"]) == ("/posts", 504, "warning")


def test_more_requests_than_places_get_503_with_retry_after(stack: Stack, tmp_path: Path) -> None:
    bounds = {"UPSTREAM_CONNECTIONS": "1", "UPSTREAM_QUEUE_TIMEOUT": "0.1"}
    with (
        content(stack, tmp_path) as service,
        gateway(stack, tmp_path, service.address, **bounds) as through,
        ThreadPoolExecutor(1) as thread,
    ):
        with service.suspend():
            first = thread.submit(through.get)
            wait_until(lambda: through.in_flight() == 1)
            busy = through.get()
            assert (busy.status_code, busy.json()["type"]) == (503, "upstream-busy")
            assert int(busy.headers["retry-after"]) > 0
            # Each service has places of its own.
            assert through.get("/api/v1/auth/me").status_code == 401
        assert first.result().status_code == 200
        assert through.get().status_code == 200


def _is_closed(part: PartProcess) -> bool:
    try:
        socket.create_connection(("127.0.0.1", part.port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_stop_completes_requests_in_flight_and_exits_with_0(stack: Stack, tmp_path: Path) -> None:
    with (
        content(stack, tmp_path) as service,
        gateway(stack, tmp_path, service.address) as through,
        ThreadPoolExecutor(1) as thread,
    ):
        with service.suspend():
            in_flight = thread.submit(through.get)
            wait_until(lambda: through.in_flight() == 1)
            through.part.process.send_signal(signal.SIGTERM)
            wait_until(lambda: _is_closed(through.part))
        response = in_flight.result()
        assert response.status_code == 200
        assert response.json()["items"] is not None
        assert through.part.process.wait(60) == 0
