"""Watching statements that take long: the server says over another connection what it does with each.

- It does nothing: the statement or its result was lost on the way. The connection has gone silent, and is shut. That
  takes two looks: after a pause of this process the statement may have left just before the first.
- It waits for a lock: at most half of the connections of a pool may do so, since the other half serves requests that
  need another table. Further ones are cancelled, and while a whole table is locked the same statements are refused.
- It works: the statement is left to its own bounds.

Behind a pooler such as PgBouncer the server's processes are not those of our connections, and this does nothing.
"""

import asyncio
import os
import select
import socket
from time import monotonic
from typing import NamedTuple, Self

import structlog
from sqlalchemy import ARRAY, BigInteger, bindparam, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from kpi_shared.database.driver import PoolState, ServiceConnection, get_direct

log = structlog.get_logger(__name__)

# In seconds. A statement takes a few milliseconds; one of these is looked at where others wait for its connection.
_TICK = 0.05
_BETWEEN_LOOKS = 0.1
_LOOK_SECONDS = 0.3
_LONG = 0.25
_LONG_FOR_OTHERS = 0.03
# How long the server must have been idle while we wait for it.
_LOST = 0.2
# How long a statement is refused after it was found waiting for a table.
_REFUSAL = 0.5

_look = text("""
    SELECT pid, state LIKE 'idle%' AS is_idle, wait_event_type = 'Lock' AND state = 'active' AS is_blocked,
        wait_event = 'relation' AS is_for_table, extract(epoch FROM clock_timestamp() - state_change) AS seconds
    FROM pg_stat_activity WHERE pid = ANY(:pids) OR pid = pg_backend_pid()
""").bindparams(bindparam("pids", type_=ARRAY(BigInteger)))
_cancel = text("""
    SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = ANY(:pids) AND wait_event_type = 'Lock'
""").bindparams(bindparam("pids", type_=ARRAY(BigInteger)))


class _Wait(NamedTuple):
    """A connection whose statement was sent at that moment and has no result yet."""

    connection: ServiceConnection
    asked_at: float
    pid: int

    @classmethod
    def find(cls, state: PoolState) -> list[Self]:
        now = monotonic()
        return [
            cls(each, each.asked_at, each.pgconn.backend_pid)
            for each in state.open
            if each.asked_at is not None and not each.closed and now - each.asked_at >= _patience(each)
        ]

    @property
    def is_over(self) -> bool:
        return self.connection.closed or self.connection.asked_at != self.asked_at

    @property
    def seconds(self) -> float:
        return monotonic() - self.asked_at


def _patience(connection: ServiceConnection) -> float:
    return _LONG_FOR_OTHERS if connection.queue.waiting else _LONG


async def watch(state: PoolState, engine: AsyncEngine) -> None:
    """Look until cancelled; ``engine`` has connections apart from those of ``state``."""
    while True:
        await asyncio.sleep(_TICK)
        try:
            has_looked = await _watch_once(state, engine)
        except (TimeoutError, DBAPIError) as error:
            log.debug("long statements could not be looked up", error=type(error).__name__)
            has_looked = True
        except Exception:
            # Such as a lack of file descriptors, which passes.
            log.exception("long statements could not be looked up")
            has_looked = True
        if has_looked:
            await asyncio.sleep(_BETWEEN_LOOKS)


async def _watch_once(state: PoolState, engine: AsyncEngine) -> bool:
    waits = _Wait.find(state)
    if not waits:
        state.refused.clear()
        state.suspected.clear()
        return False
    async with asyncio.timeout(_LOOK_SECONDS), engine.connect() as connection:
        await _handle(state, waits, connection)
    return True


async def _handle(state: PoolState, waits: list[_Wait], connection: AsyncConnection) -> None:
    rows = {row.pid: row for row in await connection.execute(_look, {"pids": [wait.pid for wait in waits]})}
    if (await get_direct(connection)).pgconn.backend_pid not in rows:
        return
    waits = [wait for wait in waits if not wait.is_over]
    before, state.suspected = state.suspected, set()
    for wait in waits:
        row = rows.get(wait.pid)
        if wait.seconds < _LONG or (row is not None and not (row.is_idle and row.seconds >= _LOST)):
            continue
        suspicion = (wait.connection, wait.asked_at)
        state.suspected.add(suspicion)
        if suspicion in before:
            _shut(wait.connection)
    blocked = [wait for wait in waits if (row := rows.get(wait.pid)) is not None and row.is_blocked]
    for_table = {wait.pid for wait in blocked if rows[wait.pid].is_for_table}
    await _limit_blocked(state, blocked, for_table, connection)


def _shut(connection: ServiceConnection) -> None:
    """Wake the statement that waits for this connection: it finds the end of the stream."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        # The result has come, and this process was too busy to take it.
        return
    log.warning("a connection to the database went silent", open_seconds=round(monotonic() - connection.opened_at))
    with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


async def _limit_blocked(
    state: PoolState, blocked: list[_Wait], for_table: set[int], connection: AsyncConnection
) -> None:
    now = monotonic()
    state.refused = {query: until for query, until in state.refused.items() if until > now}
    excess: list[int] = []
    for queue in {wait.connection.queue for wait in blocked}:
        of_queue = sorted((wait for wait in blocked if wait.connection.queue is queue), key=lambda wait: wait.asked_at)
        most = max(1, queue.size // 2)
        if len(of_queue) < most:
            continue
        state.refused |= {wait.connection.query: now + _REFUSAL for wait in of_queue if wait.pid in for_table}
        excess += [wait.pid for wait in of_queue[most:] if wait.pid in for_table or wait.seconds >= _LONG]
    if excess:
        log.warning("statements that wait for locks were cancelled", count=len(excess))
        await connection.execute(_cancel, {"pids": excess})
