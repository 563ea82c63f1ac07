"""The feed of a running service."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from kpi_shared.background import running
from kpi_shared.database import Bounds, Database

from kpi_auth.events.feed import CONNECTIONS, Feed
from kpi_auth.events.listener import create_listener


async def event_feed(app: FastAPI) -> AsyncIterator[None]:
    """On connections of its own: what is urgent does not wait behind requests, nor requests behind a long snapshot."""
    settings = app.state.settings.model_copy(update={"database_pool_size": CONNECTIONS})
    database = Database(settings, bounds=Bounds.of_requests(settings))
    app.state.feed = feed = Feed(database)
    feed.register_metrics(app.state.metrics)
    listener = create_listener(settings, feed.wake)
    try:
        async with (
            running(database.watch(), name="watch of the events' connections"),
            running(listener.run(), name="listener of events"),
            running(feed.run(), name="events"),
        ):
            yield
    finally:
        await database.close()
