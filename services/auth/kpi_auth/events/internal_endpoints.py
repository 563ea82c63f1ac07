"""The feed for other parts, on the internal port, which has checked FEED_KEY."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from kpi_shared.database import MAX_ID
from kpi_shared.tokens import CLOCK_LEEWAY
from pydantic_core import to_json

from kpi_auth.events.errors import FeedNotReadyError
from kpi_auth.events.feed import Feed
from kpi_auth.events.revocations import COMMIT_SECONDS
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
    margin = CLOCK_LEEWAY + timedelta(seconds=COMMIT_SECONDS)
    return Lifetimes.of(request.app.state.settings).access + margin


FeedOfApp = Annotated[Feed, Depends(_feed)]
TokenLifetime = Annotated[timedelta, Depends(_lifetime)]


@router.get("/revocations")
async def get_revocations(feed: FeedOfApp, lifetime: TokenLifetime) -> Response:
    """All that still matters, up to the place ``seq``."""
    found = await feed.read_revocations(lifetime=lifetime)
    return _json_response(f'{{"seq":{found.seq},"revocations":[{found.items}]}}'.encode())


@router.get("/events")
async def stream_events(after: After, feed: FeedOfApp, lifetime: TokenLifetime) -> Response:
    """Lines of JSON without an end: events after that place, and heartbeats."""
    if not feed.is_ready:
        raise FeedNotReadyError
    # Later the status can no longer say that the events are gone.
    await feed.read_page(after=after, most=1)
    stream = EventStream(feed, after=after, lifetime=lifetime.total_seconds())
    headers = {"Cache-Control": "no-store"}
    return StreamingResponse(stream.lines(), media_type="application/x-ndjson", headers=headers)


@router.get("/events/page")
async def get_events(
    feed: FeedOfApp, lifetime: TokenLifetime, after: After, limit: Annotated[int, Query(ge=1, le=1000)] = 500
) -> Response:
    """A page of events after that place; ``last`` is where the next page begins."""
    events = await feed.read_page(after=after, most=limit)
    items = [describe(event, lifetime=lifetime.total_seconds()) for event in events]
    return _json_response(to_json({"items": items, "last": events[-1].seq if events else after}))


def _json_response(content: bytes) -> Response:
    return Response(content, media_type="application/json", headers={"Cache-Control": "no-store"})
