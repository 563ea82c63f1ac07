"""Questions about the database itself, which never wait behind requests and have an answer within a second."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kpi_shared.database.driver import PoolState

Answer = TypeVar("Answer")
Question = Callable[[AsyncConnection], Awaitable[Answer]]

_FIRST_SECONDS = 0.4
_SECOND_SECONDS = 0.5
# A new connection that answers faster than this, while an older one did not answer at all, shows that the older ones
# have gone silent, and not that the server is slow.
_FAST_SECONDS = 0.1

_is_read_only = text("SELECT current_setting('transaction_read_only') = 'on'")


class ReadOnlyDatabaseError(Exception):
    """The database accepts no writes: a standby, or a primary of before a failover."""


async def ask_twice(engine: AsyncEngine, state: PoolState, question: Question[Answer]) -> Answer:
    """The answer, the second time on a new connection; TimeoutError, DBAPIError or ReadOnlyDatabaseError otherwise.

    What the new connection finds better than the old one puts all connections of ``state`` in doubt.
    """
    try:
        async with asyncio.timeout(_FIRST_SECONDS):
            return await _ask(engine, question)
    except (TimeoutError, DBAPIError, ReadOnlyDatabaseError) as error:
        first = error
    await engine.dispose()
    started_at = monotonic()
    async with asyncio.timeout(_SECOND_SECONDS):
        answer = await _ask(engine, question)
    if isinstance(first, ReadOnlyDatabaseError) or monotonic() - started_at < _FAST_SECONDS:
        state.doubt()
    return answer


async def _ask(engine: AsyncEngine, question: Question[Answer]) -> Answer:
    async with engine.connect() as connection:
        if await connection.scalar(_is_read_only):
            raise ReadOnlyDatabaseError
        return await question(connection)
