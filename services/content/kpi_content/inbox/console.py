"""``python -m kpi_content rebuild-inbox`` and ``show-inbox``, which ``kpi events`` runs.

Both print one JSON object; a failure is one sentence on standard error.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import psycopg
from kpi_shared.database import Database
from kpi_shared.feed.client import FeedClient
from kpi_shared.feed.errors import FeedError
from kpi_shared.feed.lines import LineReader
from kpi_shared.feed.schemas import Heartbeat
from kpi_shared.feed.settings import NO_FEED
from kpi_shared.operations import reason_of
from kpi_shared.telemetry.logging import configure_logging
from sqlalchemy.exc import SQLAlchemyError

from kpi_content.authors import repository as authors
from kpi_content.inbox import repository, service
from kpi_content.inbox.errors import RebuildTakenError
from kpi_content.settings import ContentSettings

_Work = Callable[[Database, FeedClient], Awaitable[dict[str, Any]]]


def rebuild_inbox(settings: ContentSettings) -> int:
    """Drop what was made of auth's events, and build it anew from all accounts; the service may run meanwhile."""
    return _run(settings, _rebuild)


def show_inbox(settings: ContentSettings) -> int:
    """How far auth's events have been read, and how far they go."""
    return _run(settings, _show)


def _run(settings: ContentSettings, work: _Work) -> int:
    configure_logging(part=settings.part.program, level=settings.log_level, form=settings.log_format, stream=sys.stderr)
    try:
        print(json.dumps(asyncio.run(_with_tools(settings, work))))
    except (FeedError, RebuildTakenError, SQLAlchemyError, psycopg.Error) as error:
        print(f"{settings.part.program}: {_reason_of(error)}", file=sys.stderr)
        return 1
    return 0


def _reason_of(error: Exception) -> str:
    match error:
        case FeedError():
            return f"auth's feed: {error}"
        case RebuildTakenError():
            return str(error)
    return reason_of(error)


async def _with_tools(settings: ContentSettings, work: _Work) -> dict[str, Any]:
    feed = FeedClient.of(settings)
    if feed is None:
        raise FeedError(NO_FEED)
    database = Database(settings)
    try:
        return await work(database, feed)
    finally:
        await database.close()
        await feed.close()


async def _rebuild(database: Database, feed: FeedClient) -> dict[str, Any]:
    rebuilt = await service.rebuild(database, feed)
    return {"accounts": rebuilt.accounts, "cursor": rebuilt.seq}


async def _show(database: Database, feed: FeedClient) -> dict[str, Any]:
    async with database.reading() as connection:
        cursor, count = await repository.find_cursor(connection), await authors.count(connection)
    heartbeat = await feed.ask_any(partial(_hear, feed))
    return {"cursor": cursor, "last": heartbeat.seq, "behind": heartbeat.behind, "authors": count}


async def _hear(feed: FeedClient, address: str) -> Heartbeat:
    """The first heartbeat of a stream that has nothing to catch up with."""
    after, lines = (await feed.get_revocations(address)).seq, LineReader()
    async with feed.open_events(address, after=after) as pieces:
        async for piece in pieces:
            for item in lines.read(piece):
                if isinstance(item, Heartbeat):
                    return item
    raise FeedError("it ended the stream")
