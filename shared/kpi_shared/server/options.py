"""The options of uvicorn that every part runs with."""

import gc
from functools import partial
from typing import Any

from kpi_shared.server.connections import ConnectionLimits
from kpi_shared.server.ending import ON_STOP
from kpi_shared.server.framing import MAX_HEAD_BYTES
from kpi_shared.server.protocol import BoundedHttpProtocol
from kpi_shared.server.refusals import RefusalHeaders

__all__ = ["MAX_HEAD_BYTES", "ON_STOP", "BoundedHttpProtocol", "freeze_garbage_collector", "uvicorn_options"]

# On every response, including refusals by the server. An application's own value replaces the default.
SECURITY_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"))


def freeze_garbage_collector() -> None:
    """Exclude all objects that exist now from garbage collection: they are needed until the process ends.

    Otherwise each full collection visits all modules again and stops every request for about 100 ms.
    """
    gc.collect()
    gc.freeze()
    # The program of a part suspends it: see swift_start.
    gc.enable()


def uvicorn_options(
    *,
    limits: ConnectionLimits | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    refusal_headers: RefusalHeaders | None = None,
    request_timeout: float | None = None,
    **more: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Options for ``uvicorn.run``; ``headers`` are set on every response in addition to SECURITY_HEADERS.

    ``refusal_headers`` gives those of the server's own refusals; it is pickled for several workers.
    ``request_timeout`` is the deadline of requests without an X-Request-Timeout, in seconds. With None no request has a
    deadline, and requests of clients that have left are not cancelled.
    """
    return {
        "loop": "uvloop",
        # It is pickled for several workers, so it cannot be a local class.
        "http": partial(
            BoundedHttpProtocol,
            limits=limits or ConnectionLimits(),
            refusal_headers=refusal_headers,
            request_timeout=request_timeout,
        ),
        "headers": [*SECURITY_HEADERS, *headers],
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # Services trust the token, never a forwarding header; the gateway resolves client addresses itself.
        "proxy_headers": False,
        "timeout_graceful_shutdown": 10,
        **more,
    }
