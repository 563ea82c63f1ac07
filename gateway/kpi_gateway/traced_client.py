"""The upstream client with a span around each exchange. Imported only where traces are exported."""

from collections.abc import AsyncIterator

from kpi_shared.errors import ProblemError
from kpi_shared.telemetry.tracing import Tracing, propagation_headers, record_status
from opentelemetry.trace import Span, SpanKind, StatusCode, use_span

from kpi_gateway.upstream import UpstreamAnswer, UpstreamClient, UpstreamRequest

_TRACE_HEADERS = frozenset({b"traceparent", b"tracestate"})
# From here on the upstream has not done what was asked, which is an error of the call (not so of the service's span).
_CLIENT_ERRORS = 400


class TracedClient:
    """Makes the service's span a child of the call, and the call one of the gateway's own span."""

    def __init__(self, inner: UpstreamClient, tracing: Tracing) -> None:
        self._inner = inner
        self._tracer = tracing.tracer

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        method = request.method.decode("ascii")
        span = self._tracer.start_span(method, kind=SpanKind.CLIENT, attributes=_attributes(request, method))
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                answer = await self._inner.send(_marked(request))
        except BaseException as error:
            _fail(span, error)
            span.end()
            raise
        record_status(span, answer.status)
        if answer.status >= _CLIENT_ERRORS:
            span.set_status(StatusCode.ERROR)
        return _TracedAnswer(answer, span)


def _attributes(request: UpstreamRequest, method: str) -> dict[str, str]:
    path = request.target.partition(b"?")[0].decode("ascii", "backslashreplace")
    return {"http.request.method": method, "server.address": request.upstream, "url.path": path}


def _marked(request: UpstreamRequest) -> UpstreamRequest:
    headers = [pair for pair in request.headers if pair[0] not in _TRACE_HEADERS]
    marks = [(name.encode(), value.encode()) for name, value in propagation_headers().items()]
    return request._replace(headers=headers + marks)


class _TracedAnswer:
    """The answer whose end is the span's end."""

    def __init__(self, answer: UpstreamAnswer, span: Span) -> None:
        self._answer = answer
        self._span = span
        self.status = answer.status
        self.headers = answer.headers
        self.whole = answer.whole

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.chunks():
                yield chunk
        except Exception as error:
            _fail(self._span, error)
            raise

    def close(self) -> None:
        self._answer.close()
        self._span.end()


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", error.type if isinstance(error, ProblemError) else type(error).__qualname__)
    span.set_status(StatusCode.ERROR)
