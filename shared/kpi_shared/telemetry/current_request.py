"""What the log and the answers of one request have in common: its id, and the trace that it is part of."""

from contextvars import ContextVar
from typing import NamedTuple


class CurrentRequest(NamedTuple):
    """``trace_id`` is that of a valid ``traceparent``, or of the span that was begun here, or None."""

    request_id: str
    trace_id: str | None = None


# One variable for all of it: binding the same by structlog's context costs ten times as much for each request. The
# server runs each request in a task with a context of its own, so nobody has to take the mark off again.
current_request: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)
