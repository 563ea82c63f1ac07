"""The feed for other parts, on the internal port, which has checked FEED_KEY."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from kpi_shared.database import MAX_ID, DatabaseOfApp, Reader
from kpi_shared.tokens import CLOCK_LEEWAY
from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.events import repository, revocations
from kpi_auth.events.errors import EventsGoneError, FeedNotReadyError
from kpi_auth.events.feed import Feed
from kpi_auth.events.streams import EventStream, describe
from kpi_auth.responses import no_store
from kpi_auth.settings.lifetimes import Lifetimes

router = APIRouter(prefix="/internal/feed", dependencies=[Depends(no_store)])

After = Annotated[int, Query(ge=0, le=MAX_ID)]


async def _feed(request: Request) -> Feed:
    feed: Feed = request.app.state.feed
    return feed


async def _lifetime(request: Request) -> timedelta:
    """How long after an event there may be tokens that it makes invalid."""
    margin = CLOCK_LEEWAY + timedelta(seconds=revocations.COMMIT_SECONDS)
    return Lifetimes.of(request.app.state.settings).access + margin


FeedOfApp = Annotated[Feed, Depends(_feed)]
TokenLifetime = Annotated[timedelta, Depends(_lifetime)]


@router.get("/revocations")
async def get_revocations(connection: Reader, lifetime: TokenLifetime) -> Response:
    """All that still matters, up to the place ``seq``."""
    seq, events = await repository.get_recent(connection, types=revocations.PASSING_TYPES, lifetime=lifetime)
    found = revocations.fold(events, lifetime=lifetime.total_seconds())
    return _json_response({"seq": seq, "revocations": found})


@router.get("/events")
async def stream_events(after: After, feed: FeedOfApp, database: DatabaseOfApp, lifetime: TokenLifetime) -> Response:
    """Lines of JSON without an end: events after that place, and heartbeats."""
    if not feed.is_ready:
        raise FeedNotReadyError
    async with database.reading() as connection:
        await _check_kept(connection, after)
    stream = EventStream(feed, database, after=after, lifetime=lifetime.total_seconds())
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(stream.lines(), media_type="application/x-ndjson", headers=headers)


@router.get("/events/page")
async def get_events(
    connection: Reader, lifetime: TokenLifetime, after: After, limit: Annotated[int, Query(ge=1, le=1000)] = 500
) -> Response:
    """A page of events after that place; ``last`` is where the next page begins."""
    await _check_kept(connection, after)
    events = await repository.get_page(connection, after=after, most=limit)
    items = [describe(event, lifetime=lifetime.total_seconds()) for event in events]
    return _json_response({"items": items, "last": events[-1].seq if events else after})


async def _check_kept(connection: AsyncConnection, after: int) -> None:
    """EventsGoneError also for a place that was never given: that of another database, or of one that was restored."""
    ends = await repository.get_ends(connection)
    if not ends.horizon <= after <= ends.last:
        raise EventsGoneError


def _json_response(content: dict[str, Any]) -> Response:
    return Response(to_json(content), media_type="application/json", headers={"Cache-Control": "no-store"})
