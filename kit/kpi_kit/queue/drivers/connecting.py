"""Connections to the database of the queue, and what their errors mean."""

import asyncio
import logging
import re
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar

import psycopg
from procrastinate.exceptions import ConnectorException
from procrastinate.psycopg_connector import PsycopgConnector
from psycopg_pool import AsyncConnectionPool, PoolClosed

from kpi_kit.errors import UrlError
from kpi_kit.libpq import read_parameters
from kpi_kit.queue.errors import QueueError, QueueNotOpenError, QueueSchemaError, QueueUnavailableError
from kpi_kit.queue.schema import SCHEMA
from kpi_kit.urls import Url, read_number

Result = TypeVar("Result")

# How long a call waits for a free connection, in seconds, within its own time. A pool that finds no server makes
# attempts for as long, and begins anew with the next call: by itself it would wait up to twice as long as the outage.
PATIENCE = 5.0
_POOL = "kpi-queue"
_SHORTEST_POLL, _LONGEST = 0.05, 3600
_NO_SCHEMA = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedObject,
    psycopg.errors.InvalidSchemaName,
)
# A server that is read-only is no longer the primary: the next connection leads to the new one.
_MAY_PASS = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
_LIMITS = (psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex, psycopg.errors.TooManyArguments)


@dataclass(frozen=True)
class DatabaseTarget:
    """What the URL says. ``parameters`` are those of libpq, with the password."""

    parameters: Mapping[str, Any] = field(repr=False)
    # The number of connections of this process, beside the one of each worker that waits for notifications.
    pool_size: int = 4
    # Seconds without a sign of life after which a worker's jobs are given to others.
    lost_after: float = 30.0
    # How often a worker asks for jobs, in seconds. A notification is faster, but it can be missed, and a job that waits
    # for its time sends none.
    poll: float = 1.0
    # How long a call of the queue may take, in seconds.
    timeout: float = 10.0


def read_target(url: Url) -> DatabaseTarget:
    """UrlError if libpq, or one of the queue's own options, cannot be read."""
    try:
        pool_size = int(url.options.get("pool_size", DatabaseTarget.pool_size))
        prepared = {"true": 5, "false": None}[url.options.get("prepared", "true")]
    except (KeyError, ValueError):
        raise UrlError("pool_size is a number, and prepared is true or false") from None
    if pool_size < 1:
        raise UrlError("pool_size is at least 1")
    lost_after = read_number(url, "lost_after", default=DatabaseTarget.lost_after, least=1, most=_LONGEST)
    poll = read_number(url, "poll", default=DatabaseTarget.poll, least=_SHORTEST_POLL, most=_LONGEST)
    timeout = read_number(url, "timeout", default=DatabaseTarget.timeout, least=0.1, most=_LONGEST)
    parameters = read_parameters(url.text, {"application_name": "kpi-queue"}) | {"prepare_threshold": prepared}
    return DatabaseTarget(parameters, pool_size, lost_after, poll, timeout)


class _OncePerMinute(logging.Filter):
    """In an outage, a pool logs each attempt to connect. One in a minute says why, such as a wrong password."""

    _shown_at = float("-inf")

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING or not isinstance(record.args, tuple) or record.args[:1] != (_POOL,):
            return True
        is_due = time.monotonic() >= self._shown_at + 60
        if is_due:
            self._shown_at = time.monotonic()
        return is_due


_ONCE_PER_MINUTE = _OncePerMinute()


def create_pool(target: DatabaseTarget) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
    """A pool that is not open yet."""
    logging.getLogger("psycopg.pool").addFilter(_ONCE_PER_MINUTE)
    return AsyncConnectionPool(
        kwargs=dict(target.parameters),
        min_size=1,
        max_size=target.pool_size,
        timeout=PATIENCE,
        reconnect_timeout=PATIENCE,
        configure=_use_autocommit,
        # A connection that the server has ended is replaced before it is lent.
        check=_check,
        open=False,
        name=_POOL,
    )


async def _check(connection: psycopg.AsyncConnection[Any]) -> None:
    await run_or_close(connection, AsyncConnectionPool.check_connection(connection))


async def run_or_close(connection: psycopg.AsyncConnection[Any], call: Coroutine[Any, Any, Result]) -> Result:
    """What ``call`` returns. If this is cancelled, the connection is closed, and nothing is waited for.

    psycopg would ask the server to cancel the statement, and wait for 10 s for one that stands still.
    """
    task = asyncio.create_task(call)
    # Read, so that the loop does not report it.
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        return await asyncio.shield(task)
    finally:
        if not task.done():
            connection.pgconn.finish()
            task.cancel()


async def _use_autocommit(connection: psycopg.AsyncConnection[Any]) -> None:
    """Each call is one statement: without BEGIN and COMMIT around it, it needs a third of the round trips."""
    await connection.set_autocommit(True)


@lru_cache(maxsize=256)
def qualify(query: str) -> str:
    """The query with the schema before each name of procrastinate, so that it needs no search path."""
    return re.sub(r"(?<![\w.])procrastinate_", f"{SCHEMA}.procrastinate_", query)


class QueueConnector(PsycopgConnector):
    """procrastinate's, for tables in a schema of their own."""

    async def execute_query_async(self, query: str, **arguments: Any) -> None:
        await super().execute_query_async(qualify(query), **arguments)

    async def execute_query_one_async(self, query: str, **arguments: Any) -> dict[str, Any]:
        row: dict[str, Any] = await super().execute_query_one_async(qualify(query), **arguments)
        return row

    async def execute_query_all_async(self, query: str, **arguments: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = await super().execute_query_all_async(qualify(query), **arguments)
        return rows

    async def execute_query_all_async_with_connection(
        self, connection: psycopg.AsyncConnection[Any], query: str, **arguments: Any
    ) -> list[dict[str, Any]]:
        run = super().execute_query_all_async_with_connection
        rows: list[dict[str, Any]] = await run(connection, qualify(query), **arguments)
        return rows


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    cause = _find_cause(error)
    # A limit of the server is an OperationalError for psycopg, but no waiting raises it.
    return isinstance(cause, (*_MAY_PASS, TimeoutError)) and not isinstance(cause, _LIMITS)


@contextmanager
def typed_errors() -> Iterator[None]:
    """Raise the errors of the libraries as those of the queue. Their messages may quote values, and are left out."""
    try:
        yield
    except (ConnectorException, psycopg.Error, TimeoutError) as error:
        raise _translate(_find_cause(error)) from None


def _find_cause(error: BaseException) -> BaseException:
    return error.__cause__ or error.__context__ or error if isinstance(error, ConnectorException) else error


def _translate(error: BaseException) -> QueueError:
    if isinstance(error, PoolClosed):
        return QueueNotOpenError()
    if isinstance(error, _NO_SCHEMA):
        return QueueSchemaError()
    if may_pass(error):
        return QueueUnavailableError()
    return QueueError(f"the queue's database refused the statement with {type(error).__name__}")
