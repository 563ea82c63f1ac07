"""The PostgreSQL database of a part: a pool for reads, a pool for writes, and their errors.

A read runs on an AUTOCOMMIT connection: no BEGIN, no COMMIT, one round trip. A write is one transaction that
commits before the response leaves.
"""

import asyncio
import logging
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

from kpi_shared.database_url import connection_arguments
from kpi_shared.errors import UnavailableError, problem_response
from kpi_shared.settings import DatabaseSettings
from kpi_shared.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

# Constraints are named after their kind, table and columns, so that code and migrations can refer to them.
NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
MAX_ID = 2**63 - 1

# A row from which a response schema takes columns by name.
AnyRow = Row[*tuple[Any, ...]]
# The connection of the driver, without SQLAlchemy.
DirectConnection = psycopg.AsyncConnection[tuple[Any, ...]]


def named_metadata() -> MetaData:
    return MetaData(naming_convention=NAMING_CONVENTION)


class Database:
    """The two engines of a part, created and closed by the lifespan."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._reads = _create_engine(settings, isolation_level="AUTOCOMMIT", pool_reset_on_return=None)
        self._writes = _create_engine(settings)
        self._reading = _Queue(settings.database_pool_size, timeout=settings.database_pool_timeout)
        self._writing = _Queue(settings.database_pool_size, timeout=settings.database_pool_timeout)

    @property
    def queues(self) -> dict[str, "_Queue"]:
        """The queues for connections, by pool."""
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
        """A connection on which each statement is a transaction: for writes of one statement."""
        return self.reading()

    def direct(self) -> AbstractAsyncContextManager[DirectConnection]:
        """As ``reading``, without SQLAlchemy, which takes three quarters of the time of a short statement.

        For the most frequent statements. The caller decides whether a statement is prepared.
        """
        return _Direct(self._reading, self._reads)

    async def close(self) -> None:
        await self._reads.dispose()
        await self._writes.dispose()


class _Direct:
    """Lends the driver's connection from the pool of an engine."""

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
                # SQLAlchemy does not notice that the driver closed it. Invalidated, the pool replaces it.
                await greenlet_spawn(self._lent.invalidate)
            # In an AUTOCOMMIT engine this sends nothing to the server, so it does not block.
            self._lent.close()
        finally:
            await self._queue.__aexit__()


class _Queue:
    """Admits as many requests as there are connections, first come, first served.

    SQLAlchemy's pool gives a free connection to the next caller, even if others wait: under load some waited fifty
    times as long as the median. Behind this queue its pool never has to wait.
    """

    def __init__(self, slots: int, *, timeout: float) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._timeout = timeout
        self.size = slots
        self.in_use = 0
        self.waiting = 0
        self.refused = 0

    async def __aenter__(self) -> None:
        if self._slots.locked():
            await self._wait()
        else:
            await self._slots.acquire()
        self.in_use += 1

    async def _wait(self) -> None:
        self.waiting += 1
        try:
            async with asyncio.timeout(self._timeout):
                await self._slots.acquire()
        except TimeoutError:
            self.refused += 1
            raise UnavailableError("All database connections are in use") from None
        finally:
            self.waiting -= 1

    async def __aexit__(self, *_error: object) -> None:
        self.in_use -= 1
        self._slots.release()


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


def _create_engine(settings: DatabaseSettings, **more: Any) -> AsyncEngine:  # noqa: ANN401 the keywords of SQLAlchemy
    milliseconds = int(settings.database_statement_timeout * 1000)
    # Not ``echo``: with it SQLAlchemy adds a handler of its own, which would log each statement a second time.
    logging.getLogger("sqlalchemy.engine").setLevel(logging.INFO if settings.database_echo else logging.NOTSET)
    engine = create_async_engine(
        "postgresql+psycopg://",
        # Parameters include password hashes and texts of users, which must not appear in logs and errors.
        hide_parameters=True,
        pool_size=settings.database_pool_size,
        max_overflow=0,
        connect_args=connection_arguments(
            settings.database_url.get_secret_value(),
            application_name=settings.part.program,
            options=f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds // 2} -c timezone=UTC",
        ),
        **more,
    )
    event.listen(engine.sync_engine, "checkout", _reject_closed)
    return engine


def _reject_closed(dbapi_connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 SQLAlchemy's adapter
    """Detect a connection that the server has closed, without the round trip of a ping.

    An idle connection is readable only if the server has closed it; the pool then opens a new one.
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


# With this scope both end with the endpoint function, before the response is sent: a client that has its response finds
# the row, and a slow client holds no connection.
Reader = Annotated[AsyncConnection, Depends(_reader, scope="function")]
Writer = Annotated[AsyncConnection, Depends(_writer, scope="function")]


def install_database_handlers(app: FastAPI) -> None:
    """Respond with 503 and Retry-After if the database is unavailable."""
    for kind in (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError):
        app.add_exception_handler(kind, _render_unavailable)


async def _render_unavailable(request: Request, error: Exception) -> Response:
    reason = getattr(error, "orig", error)
    if isinstance(reason, (QueryCanceled, LockNotAvailable, DeadlockDetected)):
        log.warning("statement cancelled", reason=type(reason).__name__)
        return problem_response(UnavailableError("The database took too long; a retry may succeed"), request)
    log.error("database unavailable", error=type(error).__name__, reason=str(reason))
    return problem_response(UnavailableError("The database is temporarily unavailable"), request)
