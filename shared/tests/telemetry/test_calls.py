"""Calls to others as a scraper and a collector of traces see them, and what is passed on with them."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import cast

import pytest
from kpi_shared.http.middleware import RequestContext
from kpi_shared.settings import PartSettings
from kpi_shared.telemetry.calls import CallObserver
from kpi_shared.telemetry.current_request import CurrentRequest, current_request
from kpi_shared.telemetry.metrics_server import serve_metrics
from kpi_shared.telemetry.observation import Observation
from kpi_shared.telemetry.tracing import Tracing, propagation_headers
from kpi_shared.testing.metrics import Scrape
from kpi_shared.testing.process import free_port
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Message, Receive, Scope, Send

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALLS = "kpi_kit_calls_total"
SECONDS = "kpi_kit_call_duration_seconds"


class UnavailableError(Exception):
    outcome = "unavailable"


@pytest.fixture
def observation() -> Observation:
    part = SimpleNamespace(name="some", program="kpi-some")
    settings = SimpleNamespace(part=part, otel_exporter_otlp_endpoint=None, slow_request_seconds=1)
    return Observation(cast("PartSettings", settings), version="1")


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(spans: InMemorySpanExporter) -> Tracing:
    """As it is created, but for the exporter."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracing = Tracing.__new__(Tracing)
    tracing.tracer = provider.get_tracer("test")
    return tracing


def fail(observer: CallObserver, error: BaseException) -> None:
    with suppress(type(error)), observer.observe("http", "get", "httpx"):
        raise error


def test_calls_are_counted_by_outcome(observation: Observation) -> None:
    for _ in range(2):
        with observation.calls.observe("cache", "get", "redis"):
            pass
    for error in (ValueError("hunter2"), UnavailableError(), asyncio.CancelledError()):
        fail(observation.calls, error)
    port = free_port()
    with serve_metrics(observation.metrics.registry, host="127.0.0.1", ports=range(port, port + 1)):
        found = Scrape.of(port)
    cache = {"part": "some", "library": "cache", "operation": "get", "driver": "redis"}
    http = {"part": "some", "library": "http", "operation": "get", "driver": "httpx"}
    assert found.value(CALLS, **cache, outcome="ok") == 2
    assert [found.value(CALLS, **http, outcome=it) for it in ("error", "unavailable", "cancelled")] == [1, 1, 1]
    assert found.value(f"{SECONDS}_count", **http) == 3
    assert found.value(f"{SECONDS}_bucket", **cache, le="+Inf") == 2
    assert found.value(f"{SECONDS}_sum", **cache) > 0


def test_a_call_is_a_span_that_is_current_within_it(tracing: Tracing, spans: InMemorySpanExporter) -> None:
    observer = CallObserver("some", tracing)
    with observer.observe("http", "get", "httpx"):
        inside = propagation_headers()["traceparent"]
    fail(observer, ValueError("hunter2"))
    good, bad = spans.get_finished_spans()
    assert (good.name, good.kind) == ("http get", SpanKind.CLIENT)
    assert dict(good.attributes or {}) == {"kpi.library": "http", "kpi.operation": "get", "kpi.driver": "httpx"}
    assert good.context is not None
    assert inside.split("-")[1:3] == [f"{good.context.trace_id:032x}", f"{good.context.span_id:016x}"]
    assert (bad.attributes or {})["error.type"] == "ValueError"
    assert bad.status.status_code is StatusCode.ERROR
    assert "hunter2" not in bad.to_json()
    assert not bad.events


def test_the_span_is_what_is_passed_on(observation: Observation, tracing: Tracing, spans: InMemorySpanExporter) -> None:
    observation.tracing = tracing
    token = current_request.set(CurrentRequest("r1", "t", TRACE))
    try:
        with CallObserver("some", tracing).observe("http", "get", "httpx"):
            headers = observation.outgoing_headers()
    finally:
        current_request.reset(token)
    (span,) = spans.get_finished_spans()
    assert span.context is not None
    assert headers["x-request-id"] == "r1"
    assert headers["traceparent"].split("-")[2] == f"{span.context.span_id:016x}"


def test_outside_of_a_request_nothing_is_passed_on(observation: Observation) -> None:
    assert observation.outgoing_headers() == {}


@pytest.mark.parametrize(
    ("sent", "passed_on"),
    [
        ([(b"traceparent", TRACE.encode()), (b"x-request-id", b"r1")], {"x-request-id": "r1", "traceparent": TRACE}),
        ([(b"x-request-id", b"r1"), (b"tracestate", b"a=b"), (b"traceparent", b"hunter2")], {"x-request-id": "r1"}),
        ([(b"x-request-id", b"r1")], {"x-request-id": "r1"}),
    ],
)
async def test_without_spans_the_clients_trace_is_passed_on(
    observation: Observation, sent: list[tuple[bytes, bytes]], passed_on: dict[str, str]
) -> None:
    found: list[dict[str, str]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(observation.outgoing_headers())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        assert message["type"].startswith("http.response.")

    scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "headers": sent}
    await asyncio.create_task(RequestContext(app, access_log=False, observation=observation)(scope, receive, send))
    assert found == [passed_on]
