"""The gateway as a program: its metrics, its log, and the traces that it exports."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from gateway_support import responding, serving
from kpi_shared.testing.collector import Collector, run_collector
from kpi_shared.testing.metrics import Scrape
from kpi_shared.testing.process import free_port, start_part, wait_until
from starlette.requests import Request
from starlette.responses import Response
from test_process import program, run

WORKERS = 2
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER, CLIENT = 2, 3


def pair_of_ports() -> int:
    """The first of two consecutive free ports."""
    while True:
        port = free_port()
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port + 1)):
                continue
        return port


def lines(log: Path) -> list[dict[str, object]]:
    """The lines of the log; one that is not JSON fails the test."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_taken_metrics_port_is_reported_in_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("-m", "kpi_gateway", "--port", str(free_port()), METRICS_PORT=str(port))
    assert done.returncode == 1
    assert done.stderr.startswith(f"kpi-gateway: cannot serve metrics on 127.0.0.1, METRICS_PORT (port {port}): ")
    assert done.stderr.count("\n") == 1


def test_the_public_port_is_refused_for_metrics() -> None:
    port = str(free_port())
    done = run("-m", "kpi_gateway", "--port", port, METRICS_PORT=port)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize("value", ["-1", "70000", "http"])
def test_an_invalid_metrics_port_is_refused(value: str) -> None:
    done = run("-m", "kpi_gateway", METRICS_PORT=value)
    assert (done.returncode, done.stderr.count("METRICS_PORT")) == (78, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
)
def test_an_unsupported_collector_is_refused(name: str, value: str) -> None:
    done = run("-m", "kpi_gateway", **{name: value})
    assert (done.returncode, done.stderr.count(name)) == (78, 1)


def test_each_worker_serves_its_own_metrics(tmp_path: Path) -> None:
    port, first = free_port(), pair_of_ports()
    log = tmp_path / "log"
    settings = {"METRICS_PORT": str(first)}
    with start_part("kpi_gateway", settings, "--workers", str(WORKERS), log=log, port=port) as address:
        for _ in range(20):
            # A new connection each time, so that either worker may get the request.
            httpx.get(f"{address}/health/info", trust_env=False).raise_for_status()

        def count() -> float:
            found = [Scrape.of(first + number) for number in range(WORKERS)]
            return sum(each.value("kpi_http_requests_total", route="/health/info") for each in found)

        # A request is counted after its response is sent.
        wait_until(lambda: count() >= 20)
        assert count() == 20
    assert len({line["port"] for line in lines(log) if line["event"] == "metrics served"}) == WORKERS


def test_every_line_of_the_log_is_json(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start_part("kpi_gateway", {}, log=log) as address, httpx.Client(base_url=address, trust_env=False) as client:
        client.get("/posts", headers={"X-Request-ID": "mine", "traceparent": f"00-{TRACE}-{PARENT}-01"})
    mine = [line for line in lines(log) if line.get("request_id") == "mine"]
    assert {line["event"] for line in mine} == {"upstream failed", "request"}
    assert {line["trace_id"] for line in mine} == {TRACE}
    assert any("Uvicorn running" in str(line["event"]) for line in lines(log))


def test_the_log_of_the_parent_process_of_workers_is_json(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with start_part("kpi_gateway", {}, "--workers", "2", log=log):
        pass
    assert any("parent process" in str(line["event"]) for line in lines(log))


async def test_a_slow_request_is_logged_with_its_route_and_a_quick_one_is_not() -> None:
    async def respond(request: Request) -> Response:
        if request.url.path == "/posts/slow":
            await asyncio.sleep(0.1)
        return Response()

    async with (
        serving(responding(respond)) as upstream,
        program(CONTENT_URL=upstream, SLOW_REQUEST_SECONDS="0.1") as (process, address),
        httpx.AsyncClient(base_url=address, trust_env=False) as client,
    ):
        await client.get("/posts/quick")
        await client.get("/posts/slow?secret=1", headers={"X-Request-ID": "slow-1"})
        assert process.stdout is not None
        async with asyncio.timeout(10):
            line = json.loads(await process.stdout.readline())
    assert (line["event"], line["level"], line["request_id"]) == ("slow request", "warning", "slow-1")
    assert (line["route"], line["path"], line["method"], line["status"]) == ("/posts", "/posts/slow", "GET", 200)
    assert line["ms"] >= 100


@contextmanager
def run_exporting_gateway(tmp_path: Path, url: str, **settings: str) -> Iterator[httpx.Client]:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100", **settings}
    with (
        start_part("kpi_gateway", environment, log=tmp_path / "log") as address,
        httpx.Client(base_url=address, trust_env=False) as client,
    ):
        yield client


@pytest.fixture
def kept() -> Iterator[Collector]:
    with run_collector() as kept:
        yield kept


def test_a_trace_is_continued_without_the_query(tmp_path: Path, kept: Collector) -> None:
    with run_exporting_gateway(tmp_path, kept.url) as client:
        client.get("/posts/1?q=private", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
        spans = kept.wait(lambda spans: len([span for span in spans if span.trace_id == TRACE]) == 2)
    server, client_span = sorted((span for span in spans if span.trace_id == TRACE), key=lambda span: span.kind)
    assert (server.kind, server.parent_id, server.name) == (SERVER, PARENT, "GET /posts")
    assert (server.attributes["http.route"], server.attributes["http.response.status_code"]) == ("/posts", 502)
    assert server.is_error
    assert (client_span.kind, client_span.parent_id) == (CLIENT, server.span_id)
    assert client_span.attributes["error.type"] == "upstream-unreachable"
    assert "private" not in str(spans)


def test_the_last_spans_are_sent_at_shutdown(tmp_path: Path, kept: Collector) -> None:
    with run_exporting_gateway(tmp_path, kept.url, OTEL_BSP_SCHEDULE_DELAY="600000") as client:
        client.get("/health/info")
    kept.wait(lambda spans: any(span.name == "GET /health/info" for span in spans))


def test_an_unavailable_collector_delays_neither_requests_nor_shutdown(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with ExitStack() as stack, run_exporting_gateway(tmp_path, url) as client:
            for _ in range(50):
                assert client.get("/health/info").status_code == 200
            # The export has begun, and gets no response until the part has stopped.
            stack.enter_context(silent.accept()[0])
    events = [line["event"] for line in lines(tmp_path / "log")]
    assert any("Finished server process" in str(event) for event in events)


@pytest.mark.parametrize("settings", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_the_exporter_is_not_loaded_if_nothing_is_exported(settings: dict[str, str]) -> None:
    exporters = "[name for name in sys.modules if name.startswith('opentelemetry.exporter')]"
    script = f"import sys, kpi_gateway.asgi; print({exporters})"
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} if settings else {}
    done = run("-c", script, **settings, **endpoint)
    assert (done.stdout, done.returncode) == ("[]\n", 0)
    if not settings:
        loaded = run("-c", script, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
        assert "opentelemetry.exporter" in loaded.stdout
