"""Spans of requests whose response the application does not send."""

import asyncio

import pytest
from kpi_shared.deadlines import ANSWERED_BY_SERVER
from kpi_shared.telemetry.tracing import _RequestTracing
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.types import Message, Receive, Scope, Send


async def test_a_request_that_the_server_answered_has_the_status_of_that_answer() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def expire(scope: Scope, receive: Receive, send: Send) -> None:
        scope[ANSWERED_BY_SERVER] = 503
        raise asyncio.CancelledError

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    scope = {"type": "http", "method": "GET", "path": "/", "scheme": "http", "http_version": "1.1", "headers": []}
    with pytest.raises(asyncio.CancelledError):
        await _RequestTracing(expire, provider.get_tracer("test"))(scope | {"request_id": "a"}, receive, send)
    (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 503
    assert span.status.status_code is StatusCode.ERROR
