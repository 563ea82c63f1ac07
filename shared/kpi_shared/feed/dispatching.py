"""Dispatches auth's events on a service's own bus."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import structlog
from fastapi import FastAPI
from kpi_kit.events import EventBus, EventTooLargeError, InvalidEventError

from kpi_shared.background import Schedule, repeat, running
from kpi_shared.feed.client import FeedClient
from kpi_shared.feed.errors import EventsGoneError
from kpi_shared.feed.follower import Follower
from kpi_shared.feed.platform_events import read_platform_event
from kpi_shared.feed.schemas import FeedEvent

log = structlog.get_logger(__name__)
# The stream wakes the loop; without it, a page is asked for now and then.
_SCHEDULE = Schedule(interval=1.0, first_backoff=0.25, longest_backoff=10.0)


class Position(Protocol):
    """The place up to which all events have been dispatched, in a process's memory or in a table of the service."""

    async def load(self) -> int | None:
        """None before the first event: then those from now on are dispatched."""
        ...

    async def store(self, seq: int) -> None: ...


class MemoryPosition:
    """Begins anew with each process."""

    def __init__(self) -> None:
        self._seq: int | None = None

    async def load(self) -> int | None:
        return self._seq

    async def store(self, seq: int) -> None:
        self._seq = seq


class Dispatcher:
    """Reads pages after its position, not the stream, which begins anew after a fault and may leave events out."""

    def __init__(self, client: FeedClient, follower: Follower, bus: EventBus, position: Position) -> None:
        self._client = client
        self._follower = follower
        self._bus = bus
        self._position = position

    async def dispatch_page(self) -> bool:
        """Whether there may be more. An event is dispatched before its place is stored, so at least once."""
        if not self._follower.has_snapshot:
            return False
        after = await self._position.load()
        if after is None:
            await self._position.store(self._follower.seq)
            return False
        # A place beyond the follower's is asked for: either the follower is behind for a moment, or auth was restored
        # from a backup and says that the events are gone.
        if after == self._follower.seq:
            return False
        try:
            page = await self._client.ask_any(lambda address: self._client.get_events(address, after=after))
        except EventsGoneError:
            # The service was away for longer than auth keeps events, or auth was restored from a backup.
            log.exception("events of the platform missed", after=after)
            await self._position.store(self._follower.seq)
            return False
        for event in page.items:
            await self._dispatch(event)
            await self._position.store(event.seq)
        await self._position.store(max(after, page.last))
        return bool(page.items)

    async def _dispatch(self, event: FeedEvent) -> None:
        found = read_platform_event(event)
        if found is None:
            return
        try:
            await self._bus.dispatch(found)
        except (EventTooLargeError, InvalidEventError):
            # Stopping here would stop all that comes after it, too.
            log.exception("an event of the platform cannot be sent on the bus", seq=event.seq, type=event.type)


@asynccontextmanager
async def dispatching_platform_events(
    app: FastAPI, bus: EventBus, *, position: Position | None = None
) -> AsyncIterator[None]:
    """Dispatch each event of auth's feed on ``bus`` during the block, if the service follows the feed.

    Without ``position``, each process dispatches what happens while it runs: for a bus in memory, whose listeners keep
    something in this process up to date. With one in the service's database, nothing is missed while the service is
    down; then let one process at a time do it. ``bus`` needs ``PLATFORM_EVENTS`` among its events.
    """
    client: FeedClient | None = app.state.feed_client
    if client is None:
        yield
        return
    follower: Follower = app.state.follower
    dispatcher = Dispatcher(client, follower, bus, position or MemoryPosition())
    loop = repeat(
        dispatcher.dispatch_page, _SCHEDULE, failure="platform events not dispatched", wake=follower.add_wake()
    )
    async with running(loop, name="platform events"):
        yield
