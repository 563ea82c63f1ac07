"""Events for the tests of outlets, and what became of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from kpi_auth.events import repository as events
from kpi_auth.events.models import EventType
from kpi_auth.events.payloads import SessionEnded
from kpi_auth.outlets import repository
from kpi_shared.database import AnyRow, Database
from nats_support import Received
from sqlalchemy import text


async def put(database: Database, *, count: int, accounts: int = 7, first: int = 1) -> None:
    """Write events of sessions ``first`` and following, and give them their places."""
    async with database.writing() as connection:
        for session_id in range(first, first + count):
            payload = SessionEnded(session_id=session_id, reason="logout")
            account = session_id % accounts + 1
            await events.put(connection, EventType.SESSION_ENDED, payload, account_id=account)
    await number(database)


async def number(database: Database) -> None:
    async with database.writing() as connection:
        await events.number(connection, most=100_000)


async def newest(database: Database) -> int:
    async with database.reading() as connection:
        return (await events.get_ends(connection)).last


async def outlet(database: Database, name: str = "nats") -> AnyRow:
    async with database.reading() as connection:
        return next(row for row in await repository.get_all(connection) if row.name == name)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + 60
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def until_delivered(database: Database) -> None:
    """Wait until the outlet has acknowledged everything."""

    async def is_delivered() -> bool:
        async with database.reading() as connection:
            return await repository.get_seq(connection, name="nats") == await newest(database)

    await until(is_delivered)


async def assert_complete(database: Database, received: list[Received]) -> None:
    """Check that every event arrived once, and those of each account in their order."""
    async with database.reading() as connection:
        rows = await connection.execute(text("SELECT seq, account_id FROM events ORDER BY account_id, seq"))
        stored = [tuple(row) for row in rows]
    arrived = [(each.seq, each.body["account_id"]) for each in received]
    assert sorted(arrived, key=lambda one: one[1]) == stored  # type: ignore[arg-type, return-value]
