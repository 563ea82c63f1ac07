"""OpenTelemetry: a span around each request, exported by OTLP over HTTP. Imported only if it is enabled.

The telemetry of FastAPI and Starlette is disabled: it exports query strings, which may contain what must not be logged,
the gateway's hot path does not run in FastAPI, and one kind of span for all parts is easier to read than two.
"""

import asyncio
import os
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kpi_shared.deadlines import ANSWERED_BY_SERVER
from kpi_shared.telemetry.current_request import CurrentRequest, current_request
from kpi_shared.telemetry.routes import UNMATCHED, route_of

# How long a stop waits for the last export. With an unavailable collector it would take ten seconds or more.
_LAST_EXPORT_SECONDS = 1.0
_SERVER_ERRORS = 500
_propagator = TraceContextTextMapPropagator()


class Tracing:
    """Creates spans and exports them in its own thread. Spans that the collector does not accept are dropped."""

    def __init__(self, program: str, *, version: str, endpoint: str) -> None:
        name = os.environ.get("OTEL_SERVICE_NAME") or program
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": name, "service.version": version}),
            # Otherwise it would wait for the collector a second time when the interpreter exits.
            shutdown_on_exit=False,
        )
        own = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        exporter = OTLPSpanExporter(endpoint=own or f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer("kpi", version)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        return _RequestTracing(app, self.tracer)

    def start_call(self, name: str, attributes: Mapping[str, str]) -> AbstractContextManager[Span]:
        """A span of a call to another system, which is the current one within the context."""
        return self.tracer.start_as_current_span(
            name, kind=SpanKind.CLIENT, attributes=attributes, record_exception=False, set_status_on_exception=False
        )

    async def close(self) -> None:
        """Export the remaining spans, within the time limit of a stop."""
        closing = threading.Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _LAST_EXPORT_SECONDS)


def propagation_headers() -> dict[str, str]:
    """``traceparent`` and ``tracestate`` of the current span."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


def record_status(span: Span, status: int) -> None:
    """Set the status attribute; from 500 on the span is marked as an error."""
    span.set_attribute("http.response.status_code", status)
    if status >= _SERVER_ERRORS:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)


def record_error(span: Span, kind: str) -> None:
    """``kind`` is the name of a class: the text of an exception may quote client data."""
    span.set_attribute("error.type", kind)
    span.set_status(StatusCode.ERROR)


class _RequestTracing:
    """A server span per request (OpenTelemetry's semantic conventions for HTTP), until the end of the response."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self.app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with self._tracer.start_as_current_span(
            scope["method"],
            context=_propagator.extract(_select_trace_headers(scope)),
            kind=SpanKind.SERVER,
            attributes=_attributes(scope),
            # The log has the text of an exception, under the same trace id.
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            _set_current_trace(scope, span)

            async def send_and_record(message: Message) -> None:
                if message["type"] == "http.response.start":
                    record_status(span, message["status"])
                await send(message)

            try:
                await self.app(scope, receive, send_and_record)
            except Exception as error:
                record_error(span, type(error).__qualname__)
                raise
            finally:
                if answered := scope.get(ANSWERED_BY_SERVER):
                    record_status(span, answered)
                _name_span(span, scope)


def _select_trace_headers(scope: Scope) -> dict[str, str]:
    """The trace headers. ``RequestContext`` has already removed invalid ones."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        if name in {b"traceparent", b"tracestate"}:
            text = value.decode("latin-1")
            known = found.get(name.decode("ascii"))
            found[name.decode("ascii")] = f"{known},{text}" if known else text
    return found


def _attributes(scope: Scope) -> dict[str, str]:
    # The query string is left out: it may contain a search term, a cursor or a secret code.
    return {
        "http.request.method": scope["method"],
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
        "kpi.request_id": scope["request_id"],
    }


def _set_current_trace(scope: Scope, span: Span) -> None:
    """Add the trace to the log lines of this request, also if the trace starts here."""
    current_request.set(CurrentRequest(scope["request_id"], format_trace_id(span.get_span_context().trace_id)))


def _name_span(span: Span, scope: Scope) -> None:
    route = route_of(scope)
    if route != UNMATCHED:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute("http.route", route)
