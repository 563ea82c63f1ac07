"""The upstream client with a span around each exchange. Imported only where traces are exported."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Self

from kpi_shared.errors import ProblemError
from kpi_shared.tracing import Tracing, ended_with, injected
from opentelemetry.trace import Span, SpanKind, StatusCode, use_span

from kpi_gateway.upstream import UpstreamAnswer, UpstreamClient, UpstreamRequest

_TRACE_HEADERS = frozenset({"traceparent", "tracestate"})
# From here on the upstream has not done what was asked, which is an error of the call (not so of the service's span).
_CLIENT_ERRORS = 400


class TracedClient:
    """Makes the service's span a child of the call, and the call one of the gateway's own span."""

    def __init__(self, inner: AbstractAsyncContextManager[UpstreamClient], tracing: Tracing) -> None:
        self._inner = inner
        self._tracer = tracing.tracer
        self._client: UpstreamClient

    async def __aenter__(self) -> Self:
        self._client = await self._inner.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._inner.__aexit__(kind, error, trace)

    async def send(self, request: UpstreamRequest) -> UpstreamAnswer:
        span = self._tracer.start_span(request.method, kind=SpanKind.CLIENT, attributes=_attributes(request))
        try:
            with use_span(span, record_exception=False, set_status_on_exception=False):
                answer = await self._client.send(_marked(request))
        except BaseException as error:
            _fail(span, error)
            span.end()
            raise
        ended_with(span, answer.status)
        if answer.status >= _CLIENT_ERRORS:
            span.set_status(StatusCode.ERROR)
        return _closing(answer, span)


def _attributes(request: UpstreamRequest) -> dict[str, str]:
    path = request.target.partition("?")[0]
    return {"http.request.method": request.method, "url.full": request.url + path}


def _marked(request: UpstreamRequest) -> UpstreamRequest:
    headers = [pair for pair in request.headers if pair[0] not in _TRACE_HEADERS]
    return request._replace(headers=[*headers, *injected().items()])


def _closing(answer: UpstreamAnswer, span: Span) -> UpstreamAnswer:
    """The answer whose end is the span's end."""

    def close() -> None:
        answer.close()
        span.end()

    return answer._replace(chunks=_watched(answer.chunks, span), close=close)


async def _watched(chunks: AsyncIterator[bytes], span: Span) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except Exception as error:
        _fail(span, error)
        raise


def _fail(span: Span, error: BaseException) -> None:
    span.set_attribute("error.type", error.type if isinstance(error, ProblemError) else type(error).__qualname__)
    span.set_status(StatusCode.ERROR)
