"""The loop that reads auth's events into this database, in every process."""

from collections.abc import AsyncIterator
from math import inf
from time import monotonic

from fastapi import FastAPI
from kpi_shared.background import Schedule, repeat, running
from kpi_shared.feed.client import FeedClient
from kpi_shared.feed.follower import Follower

from kpi_content.inbox import service

# The stream wakes the loop for a change of an account; other events only move the cursor.
_SCHEDULE = Schedule(interval=1.0, first_backoff=0.25, longest_backoff=10.0)
_CHECK_SECONDS = 3.0


async def inbox(app: FastAPI) -> AsyncIterator[None]:
    """Read while the service runs, if there is a feed. It is a resource below the feed's own."""
    client: FeedClient | None = app.state.feed_client
    if client is None:
        yield
        return
    app.state.inbox = reader = _InboxReader(app, client)
    app.state.metrics.add_gauge(
        "kpi_inbox_seq", "The place in auth's events up to which they are in the database", (), lambda: {(): reader.seq}
    )
    loop = repeat(reader.read, _SCHEDULE, failure="events unread", wake=app.state.follower.wake)
    async with running(loop, name="inbox"):
        yield


class _InboxReader:
    """``seq`` is the place up to which this process knows that all has been read; -1 while it does not know."""

    def __init__(self, app: FastAPI, client: FeedClient) -> None:
        self._app = app
        self._client = client
        self._checked_at = -inf
        self.seq = -1

    async def read(self) -> bool:
        follower: Follower = self._app.state.follower
        if self.seq == follower.seq and await self._is_read():
            return False
        self.seq, has_more = await service.read_page(self._app.state.database, self._client)
        return has_more

    async def _is_read(self) -> bool:
        """Look now and then, even if nothing happens: a rebuild elsewhere may have dropped the cursor, and ended."""
        if monotonic() - self._checked_at < _CHECK_SECONDS:
            return True
        cursor = await service.find_cursor(self._app.state.database)
        self._checked_at = monotonic()
        return cursor is not None and cursor >= self.seq
