"""The feed of a running service."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from kpi_shared.background import running

from kpi_auth.events.feed import Feed
from kpi_auth.events.listener import Listener


async def event_feed(app: FastAPI) -> AsyncIterator[None]:
    app.state.feed = feed = Feed(app.state.database)
    feed.register_metrics(app.state.metrics)
    listener = Listener(app.state.settings, feed.wake)
    async with running(listener.run(), name="listener of events"), running(feed.run(), name="events"):
        yield
