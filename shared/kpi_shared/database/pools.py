"""A pool for reads, a pool for writes, and a connection for questions about the database itself.

A read runs on an AUTOCOMMIT connection: no BEGIN, no COMMIT, one round trip. A write is one transaction that
commits before the response leaves.
"""

import asyncio
import logging
import select
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import monotonic
from typing import Any, NamedTuple, Self, cast

from sqlalchemy import ExceptionContext, PoolProxiedConnection, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from kpi_shared.database.asking import Answer, Question, ask_twice
from kpi_shared.database.driver import PoolState, ServiceConnection
from kpi_shared.database.opening import Opener
from kpi_shared.database.queue import Queue
from kpi_shared.database.watch import watch
from kpi_shared.settings import DatabaseSettings
from kpi_shared.telemetry.metrics import Metrics

# Longer than it takes to lend a connection that has been opened.
_NEW_SECONDS = 1.0
_AUTOCOMMIT = {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}


class Bounds(NamedTuple):
    """The longest times in seconds of a statement, of waiting for a lock, and between statements of a transaction."""

    statement: float
    lock: float
    idle: float

    @classmethod
    def of_requests(cls, settings: DatabaseSettings) -> Self:
        """For requests, which have a deadline: with the default, the reasoned response precedes it."""
        statement = settings.database_statement_timeout
        return cls(statement=statement, lock=statement * 0.75, idle=5.0)

    @classmethod
    def of_commands(cls, settings: DatabaseSettings) -> Self:
        return cls(statement=max(60.0, settings.database_statement_timeout), lock=10.0, idle=60.0)

    @property
    def options(self) -> str:
        values = {"statement_timeout": self.statement, "lock_timeout": self.lock}
        values["idle_in_transaction_session_timeout"] = self.idle
        return " ".join(f"-c {name}={int(seconds * 1000)}" for name, seconds in values.items())


class Database:
    """The engines of a part, created and closed by the lifespan. Without ``bounds``, those of commands apply."""

    def __init__(self, settings: DatabaseSettings, *, bounds: Bounds | None = None) -> None:
        self.state = PoolState()
        size, timeout = settings.database_pool_size, settings.database_pool_timeout
        self._reading = Queue(size, timeout=timeout)
        self._writing = Queue(size, timeout=timeout)
        options = (bounds or Bounds.of_commands(settings)).options
        self._reads = _create_engine(settings, Opener.of(settings, options, self.state, self._reading), **_AUTOCOMMIT)
        self._writes = _create_engine(settings, Opener.of(settings, options, self.state, self._writing))
        # Apart from the pools, for questions about the database and about the connections of the pools.
        aside = Opener.of(settings, options, self.state)
        self._asking = _create_engine(settings, aside, **_AUTOCOMMIT)
        self._watching = _create_engine(settings, aside, **_AUTOCOMMIT)

    @property
    def queues(self) -> dict[str, Queue]:
        """The queues for connections, by pool."""
        return {"reads": self._reading, "writes": self._writing}

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._reading:
            connection = await self._reads.connect().start()
            try:
                yield connection
                # After a statement nothing is sent here, so nothing waits. SQLAlchemy's own end starts a task for it.
                await connection.close()
            except BaseException:
                await connection.__aexit__(None, None, None)
                raise

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end of the block, rolled back by any exception."""
        async with self._writing, self._writes.begin() as connection:
            yield connection

    @asynccontextmanager
    async def working(self, *, seconds: float = 5.0) -> AsyncIterator[AsyncConnection]:
        """As ``writing``, for work that no request waits for: TimeoutError if the block takes longer."""
        async with asyncio.timeout(seconds), self.writing() as connection:
            await connection.execute(_SET_BOUND, {"milliseconds": str(int(seconds * 1000))})
            yield connection

    def committing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection on which each statement is a transaction: for writes of one statement."""
        return self.reading()

    def direct(self) -> AbstractAsyncContextManager[ServiceConnection]:
        """As ``reading``, without SQLAlchemy, which takes three quarters of the time of a short statement.

        For the most frequent statements. The caller decides whether a statement is prepared.
        """
        return _Direct(self._reading, self._reads)

    async def close(self) -> None:
        for engine in (self._reads, self._writes, self._asking, self._watching):
            await engine.dispose()

    async def ask(self, question: Question[Answer]) -> Answer:
        """See ``ask_twice``: for readiness, at most one at a time."""
        return await ask_twice(self._asking, self.state, question)

    async def watch(self) -> None:
        """Watch statements that take long, until cancelled."""
        await watch(self.state, self._watching)


_SET_BOUND = text("SELECT set_config('statement_timeout', :milliseconds, true)")


class _Direct:
    """Lends the driver's connection from the pool of an engine."""

    _lent: PoolProxiedConnection

    def __init__(self, queue: Queue, engine: AsyncEngine) -> None:
        self._queue = queue
        self._engine = engine

    async def __aenter__(self) -> ServiceConnection:
        await self._queue.__aenter__()
        try:
            self._lent = await self._engine.raw_connection()
        except BaseException:
            await self._queue.__aexit__()
            raise
        return cast("ServiceConnection", self._lent.driver_connection)

    async def __aexit__(self, *_error: object) -> None:
        try:
            # In an AUTOCOMMIT engine this sends nothing to the server, so it does not block. A connection that the
            # driver has closed is replaced when the pool lends it next.
            self._lent.close()
        finally:
            await self._queue.__aexit__()


def register_pool_metrics(database: Database, metrics: Metrics) -> None:
    queues = database.queues

    def connections() -> dict[tuple[str, ...], float]:
        sizes: dict[tuple[str, ...], float] = {(name, "size"): queue.size for name, queue in queues.items()}
        return sizes | {(name, "in_use"): queue.in_use for name, queue in queues.items()}

    metrics.add_gauge("kpi_database_connections", "Connections: allowed and in use", ("pool", "state"), connections)
    metrics.add_gauge(
        "kpi_database_waiting",
        "Requests waiting for a connection",
        ("pool",),
        lambda: {(name,): queue.waiting for name, queue in queues.items()},
    )
    metrics.add_counter(
        "kpi_database_refused",
        "Requests refused after waiting for a connection",
        ("pool",),
        lambda: {(name,): queue.refused for name, queue in queues.items()},
    )
    metrics.add_counter(
        "kpi_database_dropped",
        "Connections dropped, by the SQLSTATE or another reason",
        ("reason",),
        lambda: {(reason,): count for reason, count in database.state.dropped.copy().items()},
    )


def _create_engine(settings: DatabaseSettings, opener: Opener, **more: Any) -> AsyncEngine:  # noqa: ANN401 the keywords of SQLAlchemy
    # Not ``echo``: with it SQLAlchemy adds a handler of its own, which would log each statement a second time.
    logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO if settings.database_echo else logging.NOTSET)
    engine = create_async_engine(
        "postgresql+psycopg://",
        # Parameters include password hashes and texts of users, which must not appear in logs and errors.
        hide_parameters=True,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        connect_args={"async_creator_fn": opener},
        **more,
    )
    event.listen(engine.sync_engine, "checkout", _reject_doubtful)
    event.listen(engine.sync_engine, "handle_error", _keep_other_connections)
    return engine


def _keep_other_connections(context: ExceptionContext) -> None:
    """``PoolState`` decides which connections are in doubt; SQLAlchemy would replace all at each loss."""
    context.invalidate_pool_on_disconnect = False


def _reject_doubtful(dbapi_connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 SQLAlchemy's adapter
    """Detect a connection that is in doubt or that the server has closed, without the round trip of a ping.

    An idle connection is readable only if the server has closed it; the pool then opens a new one.
    """
    connection: ServiceConnection = dbapi_connection.driver_connection
    # It was opened for this request, unless the request that it was opened for has been cancelled. SQLAlchemy gives up,
    # with another error, when the replacement of a connection is refused as well.
    is_new = not connection.was_lent and monotonic() - connection.opened_at < _NEW_SECONDS
    connection.was_lent = True
    if is_new:
        return
    if connection.closed or connection.opened_at <= connection.state.doubted_at:
        raise DisconnectionError
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError
