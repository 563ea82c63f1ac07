"""The id and the trace of the current request, for its log lines and its response."""

import random
import re
from collections.abc import Iterable
from contextvars import ContextVar
from functools import partial
from typing import NamedTuple

# Request ids that are accepted from clients: nothing that could forge a line or a field of a log.
_SAFE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# Request ids need not be hard to guess, and the system's generator costs ten times as much.
random_id = partial(random.Random().getrandbits, 128)  # noqa: S311


class CurrentRequest(NamedTuple):
    """``trace_id`` comes from a valid ``traceparent`` or from the span that was started here; else it is None.

    ``traceparent`` is the client's, to be passed on by a part that starts no spans.
    """

    request_id: str
    trace_id: str | None = None
    traceparent: str | None = None


# One variable: binding the same values in structlog's context would cost ten times as much per request. The server runs
# each request in a task with its own context, so the variable needs no reset.
current_request: ContextVar[CurrentRequest | None] = ContextVar("current_request", default=None)


def is_safe_request_id(value: bytes) -> bool:
    """Also not an API key in the wrong field: logs and responses have the id."""
    return _SAFE_REQUEST_ID.fullmatch(value) is not None and b"kpi_" not in value


def choose_request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The first safe id of the client, or a new one."""
    for name, value in headers:
        if name == b"x-request-id" and is_safe_request_id(value):
            return value.decode("ascii")
    return f"{random_id():032x}"
