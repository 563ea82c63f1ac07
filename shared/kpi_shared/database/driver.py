"""The driver's connection, so that a pool never lends one that is in doubt.

A connection is dropped at once if its statement is cancelled or ends in an error that may be the connection's own. The
driver itself would first ask the server, which may be silent, to cancel the statement, and wait for the answer.
"""

import asyncio
from collections import Counter
from contextlib import suppress
from time import monotonic
from typing import Any, TypeVar, cast
from weakref import WeakSet

import psycopg
from psycopg.abc import Params, PQGen, Query
from psycopg.errors import DataError, FeatureNotSupported, IntegrityError, LockNotAvailable
from psycopg.pq import TransactionStatus
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_shared.database.queue import Queue

Result = TypeVar("Result")

# Of data, locks and time (SQLSTATE, by class and by code): the session works as before, and so will its next statement.
_KEPT_CLASSES = frozenset({"22", "23", "40", "44", "P0"})
_KEPT = frozenset({"55P03", "57014"})
# The server ends, starts, fails over or cannot be reached: what is true of one connection may be true of all.
_SHARED_CLASSES = frozenset({"08", "57"})
_IDLE = TransactionStatus.IDLE
READ_ONLY = "25006"
_STALE_PLAN = "RevalidateCachedQuery"
# A server that does not answer a ROLLBACK within this time rolls back when it finds the connection closed.
_ROLLBACK_SECONDS = 0.5
# Between two moments from which all connections are in doubt, so that a lasting fault does not make each request
# connect anew.
_DOUBT_INTERVAL = 1.0
# Less than a question to the database takes, which is then unanswered because the machine is busy.
_LATELY = 0.7


class PoolState:
    """What the connections of one database know of each other, and how often each was dropped and why."""

    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.open: WeakSet[ServiceConnection] = WeakSet()
        # When the statement was sent that the server answered last.
        self.answered_at = 0.0
        # Connections that were opened before this moment are in doubt, and not lent again.
        self.doubted_at = 0.0
        # Incremented when a prepared statement was found out of date: each connection then forgets its own.
        self.plans = 0
        # The place in the address of the host that connections are to; None before the first.
        self.host: int | None = None
        # Statements that wait for a locked table, and until when they are refused.
        self.refused: dict[Query, float] = {}
        # Connections for whose statement the server did nothing at the last look, with the moment it was sent.
        self.suspected: set[tuple[ServiceConnection, float]] = set()

    @property
    def has_answered_lately(self) -> bool:
        """Whether the server has answered a statement since shortly before a question that took its whole time."""
        return monotonic() - self.answered_at < _LATELY

    def settle_host(self, number: int) -> None:
        """Note the host of a new connection. If it is another one than before, the earlier connections are in doubt."""
        if self.host is not None and self.host != number:
            self.doubt()
        self.host = number

    def doubt(self) -> None:
        """Do not lend the connections that are open now again."""
        if (now := monotonic()) - self.doubted_at >= _DOUBT_INTERVAL:
            self.doubted_at = now


class ServiceCursor(psycopg.AsyncCursor[Any]):
    """Repeats the first statement of a transaction if the plan that the server keeps for it is out of date."""

    _conn: "ServiceConnection"

    def _execute_gen(
        self,
        query: Query,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> PQGen[None]:
        connection = self._conn
        state = connection.state
        connection.query = query
        if state.refused and query in state.refused:
            raise LockNotAvailable("many requests wait for a lock on a table that this statement needs")
        is_first = connection.is_idle
        if is_first and connection.plans != state.plans:
            yield from connection.forget_plans()
        try:
            yield from super()._execute_gen(query, params, prepare=prepare, binary=binary)
        except FeatureNotSupported as error:
            if error.diag.source_function != _STALE_PLAN:
                raise
            state.plans += 1
            # Later in a transaction the results of earlier statements are in use already.
            if not is_first:
                raise
            yield from connection.forget_plans()
            yield from super()._execute_gen(query, params, prepare=prepare, binary=binary)


class ServiceConnection(psycopg.AsyncConnection[Any]):
    """A connection that its database's pools can trust for as long as it is open."""

    state: PoolState
    plans: int
    # 0.0 once it is closed, so that it is in doubt forever.
    opened_at: float
    was_lent = False
    queue: Queue
    # The last statement.
    query: Query = b""
    # Since when a statement waits for the server; None between statements.
    asked_at: float | None = None

    def join(self, state: PoolState, queue: Queue) -> None:
        self.cursor_factory = ServiceCursor
        self.state = state
        self.queue = queue
        self.plans = state.plans
        state.open.add(self)

    @property
    def is_idle(self) -> bool:
        """Whether the next statement is the first of a transaction."""
        return self.pgconn.transaction_status == _IDLE

    async def wait(self, gen: PQGen[Result], interval: float = 0.1, timeout: float | None = None) -> Result:  # noqa: ASYNC109 the driver's
        self.asked_at = asked_at = monotonic()
        try:
            result = await psycopg.waiting.wait_async(gen, self.pgconn.socket, interval=interval, timeout=timeout)
        except psycopg.Error as error:
            # A caller's own time is over while it listens for notifications.
            if timeout is None:
                self._judge(error)
            raise
        except BaseException:
            self.drop("abandoned")
            raise
        finally:
            self.asked_at = None
        self.state.answered_at = asked_at
        return result

    def _judge(self, error: psycopg.Error) -> None:
        code = error.sqlstate
        if code is None and isinstance(error, (DataError, psycopg.ProgrammingError)) and not self.closed:
            # The driver's own refusal of a value or statement, of which nothing was sent.
            return
        if isinstance(error, IntegrityError) or (code is not None and (code in _KEPT or code[:2] in _KEPT_CLASSES)):
            return
        is_shared = code is None or code == READ_ONLY or code[:2] in _SHARED_CLASSES
        self.drop("lost" if code is None else code)
        if is_shared:
            self.state.doubt()

    def drop(self, reason: str) -> None:
        """Close the socket without a word more. The server ends the statement when it finds out."""
        self.opened_at = 0.0
        if not self.closed:
            self.state.dropped[reason] += 1
            self.pgconn.finish()

    async def rollback(self) -> None:
        """Roll back within a bounded time; else by closing the connection, which has the same effect."""
        if self.closed or self.is_idle:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_ROLLBACK_SECONDS):
                await super().rollback()

    def forget_plans(self) -> PQGen[None]:
        """Discard all prepared statements, here and in the server, and roll back what has failed."""
        if not self.is_idle:
            yield from self._exec_command(b"ROLLBACK")
        self.plans = self.state.plans
        self._prepared.clear()
        yield from self._prepared.maintain_gen(self)


async def get_direct(connection: AsyncConnection) -> ServiceConnection:
    """The driver's own connection, for a statement within the transaction of ``connection``."""
    return cast("ServiceConnection", (await connection.get_raw_connection()).driver_connection)
