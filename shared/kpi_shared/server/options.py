"""How every part runs under uvicorn."""

import gc
from functools import partial
from typing import Any

from kpi_shared.server.connections import ConnectionLimits
from kpi_shared.server.framing import MAX_HEAD_BYTES
from kpi_shared.server.protocol import BoundedHttpProtocol

__all__ = ["MAX_HEAD_BYTES", "BoundedHttpProtocol", "spare_the_collector", "uvicorn_options"]

# On every answer, whoever writes it; an application's own value of one of them takes its place.
SECURITY_HEADERS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"))


def spare_the_collector() -> None:
    """Take what is there now out of the garbage collector's sight: it stays until the process ends.

    Otherwise each full collection looks at all modules again, and stops every request for some 100 ms.
    """
    gc.collect()
    gc.freeze()


def uvicorn_options(
    *,
    limits: ConnectionLimits | None = None,
    headers: tuple[tuple[str, str], ...] = (),
    **more: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """How every part runs under uvicorn; ``headers`` stand on every answer beside SECURITY_HEADERS."""
    return {
        "loop": "uvloop",
        # For several workers this is pickled, which a class made here could not be.
        "http": partial(BoundedHttpProtocol, limits=limits or ConnectionLimits()),
        "headers": [*SECURITY_HEADERS, *headers],
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        # A service trusts the token and never a forwarding header; the gateway sets its own.
        "proxy_headers": False,
        "timeout_graceful_shutdown": 10,
        **more,
    }
