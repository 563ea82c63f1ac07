"""What a part tells of itself while it serves: metrics, traces, and slow requests."""

import os
from collections.abc import AsyncIterator, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from kpi_shared.settings import PartSettings
from kpi_shared.telemetry.metrics import UNMATCHED, Metrics
from kpi_shared.telemetry.metrics_server import metrics_served

if TYPE_CHECKING:
    from kpi_shared.telemetry.tracing import Tracing


class Observation:
    """Built with the application; ``running`` is entered in its lifespan."""

    def __init__(self, settings: PartSettings, *, version: str) -> None:
        self.metrics = Metrics(settings.part.name)
        self.slow_seconds = settings.slow_request_seconds
        self.tracing = _tracing(settings, version)
        self._settings = settings

    def trace(self, app: ASGIApp) -> ASGIApp:
        """The application with a span around each request, or just the application where nothing is exported."""
        return self.tracing.wrap(app) if self.tracing is not None else app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        settings = self._settings
        async with AsyncExitStack() as stack:
            if self.tracing is not None:
                stack.push_async_callback(self.tracing.close)
            if settings.metrics_port:
                ports = range(settings.metrics_port, settings.metrics_port + settings.metrics_ports)
                stack.enter_context(metrics_served(self.metrics.registry, host=settings.metrics_host, ports=ports))
            yield


def route_of(scope: MutableMapping[str, Any]) -> str:
    """The template of the route that a request was matched with; one word for all that have none.

    Frameworks put the route into the scope, and a path in its place would make a series for each id.
    """
    route = scope.get("route")
    return getattr(route, "path_format", UNMATCHED)


def _tracing(settings: PartSettings, version: str) -> "Tracing | None":
    if not settings.otel_exporter_otlp_endpoint or settings.otel_traces_exporter == "none":
        return None
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    # The SDK costs memory and a longer start, which only those pay who export.
    from kpi_shared.telemetry.tracing import Tracing  # noqa: PLC0415

    return Tracing(settings.part.program, version=version, endpoint=settings.otel_exporter_otlp_endpoint)
