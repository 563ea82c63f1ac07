"""How much time the current request has left, for code that waits.

The server gives each request of a service one deadline: from the complete request to the start of its response. See
docs/adr/0030.
"""

from collections import Counter
from contextvars import ContextVar
from math import inf
from time import monotonic
from typing import Protocol

# A request whose server answered in place of the application has (status, milliseconds) in this member of its scope.
ANSWERED_BY_SERVER = "answered_by_server"
# What the application sets in the scope of a request whose body comes at the client's own pace, and is longer than
# others by so many bytes: it ends a silent one itself.
OWN_PACE = "own_pace"
MORE_BODY_BYTES = "more_body_bytes"
# What it sets if the response has no end of its own: a client that closes its sending side has most likely left then,
# and the server finds out at once.
LASTS = "lasts"
# What the server sets when it closes the connection of a client that does not read the response.
READ_TOO_SLOWLY = "read_too_slowly"
# How many requests ended each way: "expired" (answered 503 while they ran), "late" (answered 503 and not begun), "left"
# (not begun, the client had left), "cancelled" (the client left while they ran).
cut_requests: Counter[str] = Counter()


class HasDeadline(Protocol):
    """A request; ``deadline`` is a time of ``time.monotonic``, infinite once the response has started.

    It is ``timeout`` seconds after the last bytes of the request arrived.
    """

    deadline: float
    timeout: float


# The request, not the time: the deadline is set when its body is complete.
current_deadline: ContextVar[HasDeadline | None] = ContextVar("current_deadline", default=None)


def remaining() -> float:
    """Seconds until the response of the current request must start: 0 or less if it is late, infinite outside one."""
    request = current_deadline.get()
    return inf if request is None else request.deadline - monotonic()


def arrival() -> float:
    """When the current request was complete, by ``time.monotonic``; it may have waited unread. Now, outside one."""
    request = current_deadline.get()
    return monotonic() if request is None or request.deadline == inf else request.deadline - request.timeout


def extend(seconds: float) -> None:
    """Give the current request so much more time."""
    if (request := current_deadline.get()) is not None:
        request.timeout += seconds
        request.deadline += seconds
