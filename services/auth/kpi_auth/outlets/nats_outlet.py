"""The outlet to NATS of a running service."""

from collections.abc import AsyncIterator
from datetime import timedelta

from fastapi import FastAPI
from kpi_shared.background import running

from kpi_auth.outlets.worker import OutletWorker
from kpi_auth.settings import AuthSettings

NAME = "nats"


async def nats_outlet(app: FastAPI) -> AsyncIterator[None]:
    """Deliver events while the service runs, if EVENTS_NATS_URL is set. Requests and readiness do not depend on it."""
    settings: AuthSettings = app.state.settings
    if settings.events_nats_url is None:
        yield
        return
    # The library takes 7 MB, and 70 ms to load.
    from kpi_auth.outlets.nats_transport import NatsTransport  # noqa: PLC0415

    transport = NatsTransport.of(settings, settings.events_nats_url.get_secret_value())
    kept = timedelta(days=settings.events_keep_days)
    worker = OutletWorker(NAME, app.state.database, transport, kept)
    worker.register_metrics(app.state.metrics)
    app.state.feed.on_event.append(lambda _: worker.wake.set())
    async with running(worker.run(), name="outlet to NATS"):
        yield
