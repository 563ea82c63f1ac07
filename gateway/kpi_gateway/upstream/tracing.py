"""The upstream client with a span around each round trip. Imported only when traces are exported."""

from collections.abc import AsyncIterator

from kpi_shared.errors import ProblemError
from kpi_shared.telemetry.tracing import Tracing, propagation_headers, record_status
from opentelemetry.trace import Span, SpanKind, StatusCode, use_span

from kpi_gateway.upstream.contract import UpstreamClient, UpstreamRequest, UpstreamResponse

_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})
# From this status on the call has failed, which is an error of the client span (but not of the service's).
_FIRST_ERROR_STATUS = 400


class TracedClient:
    """Makes the call a child of the gateway's span, and the service's span a child of the call."""

    def __init__(self, inner: UpstreamClient, tracing: Tracing) -> None:
        self._inner = inner
        self._tracer = tracing.tracer

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        method = request.method.decode("ascii")
        span = self._tracer.start_span(method, kind=SpanKind.CLIENT, attributes=_attributes(request, method))
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                response = await self._inner.send(_add_trace_headers(request))
        except BaseException as error:
            _fail(span, error)
            span.end()
            raise
        record_status(span, response.status)
        if response.status >= _FIRST_ERROR_STATUS:
            span.set_status(StatusCode.ERROR)
        return _TracedResponse(response, span)


def _attributes(request: UpstreamRequest, method: str) -> dict[str, str]:
    path = request.target.partition(b"?")[0].decode("ascii", "backslashreplace")
    return {"http.request.method": method, "server.address": request.upstream, "url.path": path}


def _add_trace_headers(request: UpstreamRequest) -> UpstreamRequest:
    headers = [pair for pair in request.headers if pair[0] not in _TRACE_HEADERS]
    marks = [(name.encode(), value.encode()) for name, value in propagation_headers().items()]
    return request._replace(headers=headers + marks)


class _TracedResponse:
    """A response whose end is the end of its span."""

    def __init__(self, response: UpstreamResponse, span: Span) -> None:
        self._response = response
        self._span = span
        self.status = response.status
        self.headers = response.headers
        self.is_stream = response.is_stream
        self.complete_body = response.complete_body
        self.end = response.end

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.chunks():
                yield chunk
        except Exception as error:
            _fail(self._span, error)
            raise

    def close(self) -> None:
        self._response.close()
        self._span.end()


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", error.type if isinstance(error, ProblemError) else type(error).__qualname__)
    span.set_status(StatusCode.ERROR)
