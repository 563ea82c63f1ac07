"""Metrics as a scraper reads them, and their port."""

import socket

import httpx
import pytest
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.telemetry.metrics_server import serve_metrics
from kpi_shared.testing.metrics import Scrape
from kpi_shared.testing.process import free_port

REQUESTS = "kpi_http_requests_total"
SECONDS = "kpi_http_request_duration_seconds"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("some")


def read(metrics: Metrics) -> Scrape:
    port = free_port()
    with serve_metrics(metrics.registry, host="127.0.0.1", ports=range(port, port + 1)):
        return Scrape.of(port)


def test_requests_are_counted_by_route_method_and_status(metrics: Metrics) -> None:
    for status, seconds in ((200, 0.0004), (200, 0.003), (404, 0.2), (0, 20)):
        metrics.requests.begin()
        metrics.requests.end("/posts/{id}", "GET", status, seconds)
    metrics.requests.begin()
    found = read(metrics)
    labels = {"part": "some", "route": "/posts/{id}", "method": "GET"}
    assert found.value(REQUESTS, **labels, status="200") == 2
    assert found.value(REQUESTS, **labels, status="404") == 1
    assert found.value(REQUESTS, **labels, status="none") == 1
    buckets = [found.value(f"{SECONDS}_bucket", **labels, le=bound) for bound in ("0.001", "0.005", "10.0", "+Inf")]
    assert buckets == [1, 2, 3, 4]
    assert found.value(f"{SECONDS}_count", **labels) == 4
    assert found.value(f"{SECONDS}_sum", **labels) == pytest.approx(20.2034)
    assert found.value("kpi_http_requests_in_flight", part="some") == 1


def test_bucket_bounds_are_inclusive(metrics: Metrics) -> None:
    metrics.requests.end("/", "GET", 200, 0.001)
    assert read(metrics).value(f"{SECONDS}_bucket", le="0.001") == 1


def test_unknown_methods_share_one_series(metrics: Metrics) -> None:
    for number in range(100):
        metrics.requests.end("/", f"X{number}", 405, 0)
    metrics.requests.end("/", "PATCH", 200, 0)
    found = read(metrics)
    assert found.labels(REQUESTS, "method") == {"OTHER", "PATCH"}
    assert found.value(REQUESTS, method="OTHER") == 100


def test_registered_metrics_are_read_on_each_scrape(metrics: Metrics) -> None:
    numbers: dict[tuple[str, ...], float] = {}
    metrics.add_gauge("kpi_things", "Things", ("kind",), lambda: numbers)
    metrics.add_counter("kpi_events", "Events", (), lambda: {(): len(numbers)})
    assert read(metrics).value("kpi_things") == 0
    numbers["a",] = 3
    found = read(metrics)
    assert (found.value("kpi_things", kind="a"), found.value("kpi_events_total")) == (3, 1)


def test_process_metrics_are_included(metrics: Metrics) -> None:
    assert read(metrics).value("process_resident_memory_bytes") > 1_000_000


def test_only_the_path_metrics_is_served(metrics: Metrics) -> None:
    port = free_port()
    with serve_metrics(metrics.registry, host="127.0.0.1", ports=range(port, port + 1)):
        base = f"http://127.0.0.1:{port}"
        response = httpx.get(f"{base}/metrics?x=1", trust_env=False)
        assert (response.status_code, response.headers["content-type"].split(";")[0]) == (200, "text/plain")
        assert httpx.get(f"{base}/", trust_env=False).status_code == 404
        assert httpx.post(f"{base}/metrics", trust_env=False).status_code == 501
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{base}/metrics", trust_env=False)


def test_a_silent_scraper_does_not_block_another(metrics: Metrics) -> None:
    port = free_port()
    with (
        serve_metrics(metrics.registry, host="127.0.0.1", ports=range(port, port + 1)),
        socket.create_connection(("127.0.0.1", port)),
    ):
        assert Scrape.of(port).value("process_start_time_seconds") > 0


def test_each_process_uses_the_first_free_port(metrics: Metrics) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        first = other.getsockname()[1]
        with serve_metrics(metrics.registry, host="127.0.0.1", ports=range(first, first + 20)) as port:
            assert port is not None
            assert first < port < first + 20
        with serve_metrics(metrics.registry, host="127.0.0.1", ports=range(first, first + 1)) as port:
            assert port is None
