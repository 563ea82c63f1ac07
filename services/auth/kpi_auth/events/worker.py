"""The feed of a running service."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from kpi_shared.background import running

from kpi_auth.events.feed import Feed


async def event_feed(app: FastAPI) -> AsyncIterator[None]:
    app.state.feed = feed = Feed(app.state.database)
    feed.register_metrics(app.state.metrics)
    async with running(feed.run(), name="events"):
        yield
