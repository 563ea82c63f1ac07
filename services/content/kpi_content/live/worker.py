"""The hub, the listener and the uploads of a running service."""

from collections.abc import AsyncIterator
from functools import partial

import psycopg
import structlog
from fastapi import FastAPI
from kpi_shared.background import repeat, running
from kpi_shared.database.listening import Listener

from kpi_content.live import repository
from kpi_content.live.drafts import Drafts, receive_draft
from kpi_content.live.errors import TooManyStreamsError
from kpi_content.live.hub import Hub
from kpi_content.live.keys import RENEWAL, KeysInFlight
from kpi_content.live.limits import OpenByAccount
from kpi_content.live.uploads import Uploads
from kpi_content.settings import ContentSettings

log = structlog.get_logger(__name__)


async def live(app: FastAPI) -> AsyncIterator[None]:
    """A resource below that of the revocations, with which uploads end."""
    settings: ContentSettings = app.state.settings
    app.state.hub = hub = Hub(app.state.database)
    app.state.drafts = drafts = Drafts(hub, app.state.database)
    keys = KeysInFlight(app.state.database)
    app.state.uploads = uploads = Uploads(
        app.state.database, app.state.revocations, keys, most_of_account=settings.uploads_per_account
    )
    app.state.open_streams = OpenByAccount(settings.streams_per_account, refusal=TooManyStreamsError)
    listener = Listener(
        settings.listen_database_url,
        name=f"{settings.part.program}-live",
        listen=repository.listen,
        on_begin=hub.look_at_all,
        on_notification=partial(_receive, hub, keys),
    )
    hub.listener = listener
    _register_metrics(app, hub, uploads)
    app.state.on_stop.extend((hub.end_streams, uploads.stop))
    renewal = repeat(keys.renew, RENEWAL, failure="keys of uploads not renewed")
    async with (
        running(listener.run(), name="listener of conversations"),
        running(hub.run(), name="conversations"),
        running(drafts.run(), name="drafts"),
        running(renewal, name="keys of uploads"),
    ):
        try:
            yield
        finally:
            await uploads.finish()


def _receive(hub: Hub, keys: KeysInFlight, notification: psycopg.Notify) -> None:
    try:
        if notification.channel == repository.DRAFTS:
            receive_draft(hub, notification.payload, is_ordered=True)
        elif notification.channel == repository.KEYS:
            keys.receive(notification.payload)
        else:
            conversation_id, _, seq = notification.payload.partition(" ")
            hub.note(int(conversation_id), int(seq))
    except (ValueError, TypeError):
        # Of another version of this service, or of none.
        log.warning("notification not understood", channel=notification.channel)


def _register_metrics(app: FastAPI, hub: Hub, uploads: Uploads) -> None:
    metrics = app.state.metrics
    metrics.add_gauge("kpi_live_streams", "Streams of conversations that are open", (), lambda: {(): hub.streams})
    metrics.add_gauge("kpi_live_uploads", "Messages that are being uploaded", (), lambda: {(): len(uploads)})
    metrics.add_counter("kpi_live_events", "Events given to streams", (), lambda: {(): hub.sent})
    metrics.add_counter("kpi_live_cut", "Streams ended since their readers were too slow", (), lambda: {(): hub.cut})
    listening = "1 while the process listens for notifications; it polls otherwise"
    metrics.add_gauge("kpi_live_listening", listening, (), lambda: {(): float(hub.is_listening)})
    lag = "For how many seconds looking at followed conversations has not succeeded"
    metrics.add_gauge("kpi_live_lag_seconds", lag, (), lambda: {(): hub.lag})
