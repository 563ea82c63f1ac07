"""An OpenTelemetry collector that stores the spans that it receives (OTLP over HTTP, as protobuf)."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

_PATIENCE_SECONDS = 30.0


class ExportedSpan(NamedTuple):
    """One span, with the fields that tests compare."""

    service: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, str | int]
    is_error: bool


class Collector:
    def __init__(self) -> None:
        self.spans: list[ExportedSpan] = []
        self._changed = threading.Condition()
        self.url = ""

    def add(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            for group in request.resource_spans:
                service = next(
                    item.value.string_value for item in group.resource.attributes if item.key == "service.name"
                )
                self.spans += [_read_span(service, span) for scope in group.scope_spans for span in scope.spans]
            self._changed.notify_all()

    def wait(self, enough: Callable[[list[ExportedSpan]], bool]) -> list[ExportedSpan]:
        """Wait until there are enough spans and return all of them."""
        with self._changed:
            assert self._changed.wait_for(lambda: enough(self.spans), _PATIENCE_SECONDS), self.spans
            return list(self.spans)


def _read_span(service: str, span: Span) -> ExportedSpan:
    attributes = {item.key: item.value.string_value or item.value.int_value for item in span.attributes}
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    return ExportedSpan(
        service, span.name, span.kind, *ids, attributes, span.status.code == span.status.STATUS_CODE_ERROR
    )


@contextmanager
def run_collector() -> Iterator[Collector]:
    received = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert (self.path, self.headers["content-type"]) == ("/v1/traces", "application/x-protobuf")
            received.add(body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
            """Do not log requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    received.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
