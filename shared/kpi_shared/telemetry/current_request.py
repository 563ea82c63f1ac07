"""The id and the trace of the current request, for its log lines and its response."""

from contextvars import ContextVar
from typing import NamedTuple


class CurrentRequest(NamedTuple):
    """``trace_id`` comes from a valid ``traceparent`` or from the span that was started here; else it is None."""

    request_id: str
    trace_id: str | None = None


# One variable: binding the same values in structlog's context would cost ten times as much per request. The server runs
# each request in a task with its own context, so the variable needs no reset.
current_request: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)
