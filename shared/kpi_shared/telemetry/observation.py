"""Metrics, traces and the threshold of slow requests of a part."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from kpi_shared.deadlines import cut_requests
from kpi_shared.settings import PartSettings
from kpi_shared.telemetry.calls import CallObserver
from kpi_shared.telemetry.current_request import current_request
from kpi_shared.telemetry.logging import dropped_lines
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.telemetry.metrics_server import serve_metrics

if TYPE_CHECKING:
    from kpi_shared.telemetry.tracing import Tracing


class Observation:
    """Created with the application; the lifespan enters ``running``."""

    def __init__(self, settings: PartSettings, *, version: str) -> None:
        self.metrics = Metrics(settings.part.name)
        self.metrics.add_counter(
            "kpi_log_lines_dropped",
            "Log lines that were not written because nothing read them",
            (),
            lambda: {(): dropped_lines()},
        )
        self.metrics.add_counter(
            "kpi_requests_cut",
            "Requests that the server ended or did not begin: deadline passed (expired, late), or client gone",
            ("reason",),
            lambda: {(reason,): count for reason, count in cut_requests.copy().items()},
        )
        self.slow_seconds = settings.slow_request_seconds
        self.tracing = _create_tracing(settings, version)
        self.calls = CallObserver(settings.part.name, self.tracing)
        self.metrics.registry.register(self.calls)
        self._settings = settings

    def outgoing_headers(self) -> dict[str, str]:
        """What the part sends with its own requests: the id of the current request, and its place in the trace."""
        headers: dict[str, str] = {}
        current = current_request.get()
        if current is not None:
            headers["x-request-id"] = current.request_id
            if current.traceparent is not None:
                headers["traceparent"] = current.traceparent
        if self.tracing is None:
            return headers
        from kpi_shared.telemetry.tracing import propagation_headers  # noqa: PLC0415 as below

        return headers | propagation_headers()

    def trace(self, app: ASGIApp) -> ASGIApp:
        """Wrap the application in a span per request, or return it as it is if nothing is exported."""
        return self.tracing.wrap(app) if self.tracing is not None else app

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        settings = self._settings
        async with AsyncExitStack() as stack:
            if self.tracing is not None:
                stack.push_async_callback(self.tracing.close)
            if settings.metrics_port:
                ports = range(settings.metrics_port, settings.metrics_port + settings.metrics_ports)
                stack.enter_context(serve_metrics(self.metrics.registry, host=settings.metrics_host, ports=ports))
            yield


def _create_tracing(settings: PartSettings, version: str) -> "Tracing | None":
    if not settings.otel_exporter_otlp_endpoint or settings.otel_traces_exporter == "none":
        return None
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    # The SDK takes memory and start-up time, so it is imported only if traces are exported.
    from kpi_shared.telemetry.tracing import Tracing  # noqa: PLC0415

    return Tracing(settings.part.program, version=version, endpoint=settings.otel_exporter_otlp_endpoint)
