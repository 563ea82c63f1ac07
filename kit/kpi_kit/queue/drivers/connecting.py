"""Connections to the database of the queue, and what their errors mean."""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import psycopg
from procrastinate.exceptions import ConnectorException
from procrastinate.psycopg_connector import PsycopgConnector
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolClosed

from kpi_kit.errors import UrlError
from kpi_kit.queue.errors import QueueError, QueueNotOpenError, QueueSchemaError, QueueUnavailableError
from kpi_kit.queue.schema import SCHEMA

# A connection whose packets are lost ends after some seconds: the system's own times are 15 minutes and two hours.
_DEFAULTS = {
    "application_name": "kpi-queue",
    "connect_timeout": "5",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}
# How long a call waits for a free connection, in seconds. A pool that finds no server makes attempts for as long, and
# begins anew with the next call: by itself it would wait up to twice as long as the outage.
PATIENCE = 5.0
_POOL = "kpi-queue"
_OPTIONS = ("pool_size", "lost_after", "poll", "prepared")
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
class Place:
    """What the URL says. ``parameters`` are those of libpq, with the password."""

    parameters: Mapping[str, Any] = field(repr=False)
    # The number of connections of this process, beside the one of each worker that waits for notifications.
    pool_size: int = 4
    # Seconds without a sign of life after which a worker's jobs are given to others.
    lost_after: float = 30.0
    # How often a worker asks for jobs, in seconds. A notification is faster, but it can be missed, and a job that waits
    # for its time sends none.
    poll: float = 1.0


def read_place(text: str) -> Place:
    """UrlError if libpq cannot read the URL: several hosts, and all parameters of libpq, are allowed."""
    address, _, query = text.partition("://")[2].partition("?")
    # libpq reads a plus sign as such, so its parameters stay as they are written.
    parts = query.split("&") if query else []
    pairs = {name: unquote(value) for name, _, value in (part.partition("=") for part in parts) if name in _OPTIONS}
    others = "&".join(part for part in parts if part.partition("=")[0] not in _OPTIONS)
    try:
        pool_size = int(pairs.get("pool_size", Place.pool_size))
        lost_after = float(pairs.get("lost_after", Place.lost_after))
        poll = float(pairs.get("poll", Place.poll))
        prepared = {"true": 5, "false": None}[pairs.get("prepared", "true")]
        given = conninfo_to_dict(f"postgresql://{address}?{others}")
    except (KeyError, ValueError, UnicodeError, psycopg.Error):
        # The library's own message quotes what it cannot read, which may be a part of the password.
        raise UrlError(
            "postgresql://user:password@host:5432/database is needed, with special characters in the password "
            "percent-encoded; options are those of libpq, pool_size, lost_after and poll (seconds), and prepared=false"
        ) from None
    _check_address(address, str(given.get("port", "")))
    if not (pool_size >= 1 and 1 <= lost_after <= _LONGEST and _SHORTEST_POLL <= poll <= _LONGEST):
        raise UrlError("pool_size and lost_after are at least 1, and poll is at least 0.05")
    # After a failover the old primary may still respond, read-only.
    several = {"target_session_attrs": "read-write"} if "," in str(given.get("host", "")) else {}
    parameters = _DEFAULTS | several | given | {"prepare_threshold": prepared}
    return Place(parameters, pool_size, lost_after, poll)


def _check_address(address: str, ports: str) -> None:
    """libpq would take a part of the password for the host or the port, and quote it when it cannot connect."""
    is_misplaced = address.count("@") > 1 or "@" in address.partition("/")[2]
    if is_misplaced or not re.fullmatch(r"[\d,]*", ports):
        raise UrlError("the URL has a misplaced @ or a bad port: in a password, @ is written %40, and / is %2F")


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


def create_pool(place: Place) -> AsyncConnectionPool[psycopg.AsyncConnection[Any]]:
    """A pool that is not open yet."""
    logging.getLogger("psycopg.pool").addFilter(_ONCE_PER_MINUTE)
    return AsyncConnectionPool(
        kwargs=dict(place.parameters),
        min_size=1,
        max_size=place.pool_size,
        timeout=PATIENCE,
        reconnect_timeout=PATIENCE,
        configure=_use_autocommit,
        # A connection that the server has ended is replaced before it is lent.
        check=AsyncConnectionPool.check_connection,
        open=False,
        name=_POOL,
    )


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
