"""One part's PostgreSQL: a pool for reads, a pool for writes, and what goes wrong with them.

A read runs on an AUTOCOMMIT connection: no BEGIN, no COMMIT, one round trip. A write is one transaction that
commits before the response leaves.
"""

import asyncio
import select
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, cast

import psycopg
import structlog
from fastapi import Depends, FastAPI, Request, Response
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled
from sqlalchemy import MetaData, PoolProxiedConnection, Row, event
from sqlalchemy.exc import DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.util import greenlet_spawn

from kpi_shared.errors import UnavailableError, problem_response
from kpi_shared.settings import DatabaseSettings
from kpi_shared.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

# Constraints get names from their kind, table and columns, so that code and migrations can name them.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
MAX_ID = 2**63 - 1

# A row whose columns a response schema picks by name.
AnyRow = Row[*tuple[Any, ...]]
# The driver's own connection, with no SQLAlchemy around it.
DirectConnection = psycopg.AsyncConnection[tuple[Any, ...]]


def named_metadata() -> MetaData:
    return MetaData(naming_convention=NAMING_CONVENTION)


class Database:
    """The two engines of a part; built in the lifespan, closed with it."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._reads = _engine(settings, isolation_level="AUTOCOMMIT", pool_reset_on_return=None)
        self._writes = _engine(settings)
        self._reading = _Queue(settings.database_pool_size, patience=settings.database_pool_timeout)
        self._writing = _Queue(settings.database_pool_size, patience=settings.database_pool_timeout)

    @property
    def queues(self) -> dict[str, "_Queue"]:
        """Who uses and waits for connections, by pool."""
        return {"reads": self._reading, "writes": self._writing}

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        async with self._reading, self._reads.connect() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction: committed at the end of the block, rolled back by any exception."""
        async with self._writing, self._writes.begin() as connection:
            yield connection

    def committing(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection whose every statement is a transaction of its own: for writes that are one statement each."""
        return self.reading()

    def direct(self) -> AbstractAsyncContextManager[DirectConnection]:
        """The same without SQLAlchemy, which takes three quarters of a short statement's time.

        For the statements that are asked for most; whoever runs one says whether it is prepared.
        """
        return _Direct(self._reading, self._reads)

    async def close(self) -> None:
        await self._reads.dispose()
        await self._writes.dispose()


class _Direct:
    """Lends the driver's connection out of an engine's pool."""

    _lent: PoolProxiedConnection

    def __init__(self, queue: "_Queue", engine: AsyncEngine) -> None:
        self._queue = queue
        self._engine = engine

    async def __aenter__(self) -> DirectConnection:
        await self._queue.__aenter__()
        try:
            self._lent = await self._engine.raw_connection()
        except BaseException:
            await self._queue.__aexit__()
            raise
        return cast("DirectConnection", self._lent.driver_connection)

    async def __aexit__(self, *_error: object) -> None:
        try:
            if cast("DirectConnection", self._lent.driver_connection).closed:
                # SQLAlchemy does not see what the driver is told; the pool makes a new one next time.
                await greenlet_spawn(self._lent.invalidate)
            # An AUTOCOMMIT engine's pool has nothing to say to the server here.
            self._lent.close()
        finally:
            await self._queue.__aexit__()


class _Queue:
    """First come, first served, for as many as there are connections.

    SQLAlchemy's pool hands a free connection to whoever asks next, also past those who wait: under load the
    unlucky ones waited fifty times as long as the median. With this in front, its pool never has to wait.
    """

    def __init__(self, places: int, *, patience: float) -> None:
        self._places = asyncio.Semaphore(places)
        self._patience = patience
        self.size = places
        self.in_use = 0
        self.waiting = 0
        self.refused = 0

    async def __aenter__(self) -> None:
        if self._places.locked():
            await self._wait()
        else:
            await self._places.acquire()
        self.in_use += 1

    async def _wait(self) -> None:
        self.waiting += 1
        try:
            async with asyncio.timeout(self._patience):
                await self._places.acquire()
        except TimeoutError:
            self.refused += 1
            raise UnavailableError("All database connections are in use") from None
        finally:
            self.waiting -= 1

    async def __aexit__(self, *_error: object) -> None:
        self.in_use -= 1
        self._places.release()


def count_connections(database: Database, metrics: Metrics) -> None:
    queues = database.queues

    def connections() -> dict[tuple[str, ...], float]:
        sizes: dict[tuple[str, ...], float] = {(name, "size"): queue.size for name, queue in queues.items()}
        return sizes | {(name, "in_use"): queue.in_use for name, queue in queues.items()}

    metrics.add_gauge("kpi_database_connections", "Connections: allowed, and in use", ("pool", "state"), connections)
    metrics.add_gauge(
        "kpi_database_waiting",
        "Requests that wait for a connection",
        ("pool",),
        lambda: {(name,): queue.waiting for name, queue in queues.items()},
    )
    metrics.add_counter(
        "kpi_database_refused",
        "Requests that waited for a connection in vain",
        ("pool",),
        lambda: {(name,): queue.refused for name, queue in queues.items()},
    )


def _engine(settings: DatabaseSettings, **more: Any) -> AsyncEngine:  # noqa: ANN401 they are SQLAlchemy's own
    milliseconds = int(settings.database_statement_timeout * 1000)
    engine = create_async_engine(
        settings.database_url.get_secret_value(),
        # Parameters are passwords' hashes and people's words: they stay out of the log and of errors.
        hide_parameters=True,
        echo=settings.database_echo,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        connect_args={
            "connect_timeout": 5,
            "application_name": settings.part.program,
            "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds // 2} -c timezone=UTC",
        },
        **more,
    )
    event.listen(engine.sync_engine, "checkout", _refuse_dropped)
    return engine


def _refuse_dropped(dbapi_connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 the adapter's
    """Find a connection that the server has closed, without the round trip of a ping.

    An idle connection has nothing to read unless the server said goodbye; the pool then makes a new one.
    """
    poll = select.poll()
    poll.register(dbapi_connection.driver_connection.fileno(), select.POLLIN)
    if poll.poll(0):
        raise DisconnectionError


async def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


DatabaseOfApp = Annotated[Database, Depends(_database)]


async def _reader(database: DatabaseOfApp) -> AsyncIterator[AsyncConnection]:
    async with database.reading() as connection:
        yield connection


async def _writer(database: DatabaseOfApp) -> AsyncIterator[AsyncConnection]:
    async with database.writing() as connection:
        yield connection


# The scope ends both with the endpoint's function, before the response is sent: a client that has its
# answer finds the row, and a slow client holds no connection.
Reader = Annotated[AsyncConnection, Depends(_reader, scope="function")]
Writer = Annotated[AsyncConnection, Depends(_writer, scope="function")]


def install_database_handlers(app: FastAPI) -> None:
    """A database that is away, or has no connection to spare, is a 503 that says when to come back."""
    for kind in (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError):
        app.add_exception_handler(kind, _render_unavailable)


async def _render_unavailable(_request: Request, error: Exception) -> Response:
    reason = getattr(error, "orig", error)
    if isinstance(reason, (QueryCanceled, LockNotAvailable, DeadlockDetected)):
        log.warning("statement given up", reason=type(reason).__name__)
        return problem_response(UnavailableError("The database took too long; trying again may help"))
    log.error("database unavailable", error=type(error).__name__, reason=str(reason))
    return problem_response(UnavailableError("The database cannot be reached just now"))
