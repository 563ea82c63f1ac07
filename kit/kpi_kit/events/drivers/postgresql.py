"""Events in two tables of a database: a row for each event and each group that listens.

Not a cursor over a table of events: numbers are given before a commit, so a reader that remembers the highest one that
it has seen would miss those that are committed later.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from secrets import token_hex
from time import monotonic
from typing import Any, LiteralString

import psycopg

from kpi_kit.errors import NotOpenError
from kpi_kit.events.borrowing import run_in_transaction, to_text
from kpi_kit.events.contract import Deliver
from kpi_kit.events.errors import EventsSchemaError, EventsUnavailableError
from kpi_kit.events.receiving import read_group, repeat_despite_faults, run_with_renewals
from kpi_kit.libpq import read_parameters
from kpi_kit.urls import Url, read_number

# For a migration of the service, or by `create_tables`. In a schema of their own, where Alembic does not look for
# tables that no model has.
TABLES = """
CREATE SCHEMA IF NOT EXISTS kpi_events;
CREATE TABLE IF NOT EXISTS kpi_events.groups (
    name text PRIMARY KEY,
    seen_at timestamptz NOT NULL
);
ALTER TABLE kpi_events.groups ADD COLUMN IF NOT EXISTS keep_days double precision NOT NULL DEFAULT 7;
CREATE TABLE IF NOT EXISTS kpi_events.deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    group_name text NOT NULL REFERENCES kpi_events.groups ON DELETE CASCADE,
    name text NOT NULL,
    payload text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    holder text
);
CREATE INDEX IF NOT EXISTS deliveries_in_order ON kpi_events.deliveries (group_name, id);
"""
_LEASE_SECONDS = 15
_POLL_SECONDS = 1.0
_CLEAN_SECONDS = 600.0
_DEFAULT_TIMEOUT = 3.0
_FAULTS = (psycopg.Error, OSError, TimeoutError)
_NO_TABLES = (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName)

# All groups have days: that a sender asks for them makes it fail where a group could not be noted.
_PUBLISH = """
    WITH stored AS (
        INSERT INTO kpi_events.deliveries (group_name, name, payload)
        SELECT groups.name, %(name)s, %(payload)s FROM kpi_events.groups WHERE keep_days > 0 RETURNING id
    )
    SELECT pg_notify('kpi_events', '') FROM (SELECT 1 FROM stored LIMIT 1) AS any_group
"""
_REGISTER = """
    INSERT INTO kpi_events.groups (name, seen_at, keep_days) VALUES (%(group)s, now(), %(days)s)
    ON CONFLICT (name) DO UPDATE SET seen_at = now(), keep_days = EXCLUDED.keep_days
"""
# Each process does it for all groups, or those of which no process is left would stay; each group with its own days.
_FORGET = """
    WITH old AS (
        DELETE FROM kpi_events.deliveries USING kpi_events.groups
        WHERE groups.name = group_name AND created_at < now() - keep_days * interval '1 day'
    )
    DELETE FROM kpi_events.groups WHERE seen_at < now() - keep_days * interval '1 day'
"""
_TAKE = """
    UPDATE kpi_events.deliveries
    SET leased_until = clock_timestamp() + %(lease)s * interval '1 second', holder = %(holder)s
    WHERE id = (
        SELECT id FROM kpi_events.deliveries WHERE group_name = %(group)s AND leased_until < clock_timestamp()
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING id, name, payload
"""
_RENEW = """
    UPDATE kpi_events.deliveries SET leased_until = clock_timestamp() + %(lease)s * interval '1 second'
    WHERE id = %(id)s
"""
_RELEASE = """
    UPDATE kpi_events.deliveries SET leased_until = '-infinity'
    WHERE group_name = %(group)s AND holder = %(holder)s AND leased_until > clock_timestamp()
"""
_FINISH = "DELETE FROM kpi_events.deliveries WHERE id = %(id)s"


class PostgresqlDriver:
    runs_listeners = False

    def __init__(self, url: Url) -> None:
        self._parameters = read_parameters(url.text, {"application_name": "kpi-events"}) | {
            # Or an event could not be read that another process has stored.
            "client_encoding": "UTF8"
        }
        # A holder handles one event at a time.
        self._names: dict[str, object] = {"group": read_group(url), "holder": token_hex(8)}
        self._days = read_number(url, "keep_days", default=7, least=1, most=3650)
        self._timeout = read_number(url, "timeout", default=_DEFAULT_TIMEOUT, least=0.1, most=60)
        self._deliver: Deliver | None = None
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._lock = asyncio.Lock()
        self._cleaned_at = -_CLEAN_SECONDS
        self._seen_at = -_CLEAN_SECONDS

    async def open(self, deliver: Deliver) -> None:
        # It connects with the first event: a service may start before its database.
        self._deliver = deliver

    async def close(self) -> None:
        self._deliver = None
        async with self._lock:
            if self._connection is not None:
                await self._connection.close()
                self._connection = None

    async def create_tables(self) -> None:
        """For development and tests; a service has ``TABLES`` in a migration, and no right to create them."""
        async with await self._connect() as connection:
            await connection.execute(TABLES)

    async def _connect(self) -> "psycopg.AsyncConnection[Any]":
        # A pooler in between has no prepared statements.
        call = psycopg.AsyncConnection.connect(autocommit=True, prepare_threshold=None, **self._parameters)
        async with asyncio.timeout(self._timeout):
            return await call

    async def _execute(
        self, connection: "psycopg.AsyncConnection[Any]", statement: LiteralString, values: Mapping[str, object]
    ) -> tuple[Any, ...] | None:
        """The first row, if there is one; EventsSchemaError. A connection that does not respond in time is closed.

        psycopg waits for a cancelled statement to end, without a bound; so it runs in a task that can be left behind.
        """
        task = asyncio.create_task(_fetch(connection, statement, values))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(task)
        except _NO_TABLES:
            raise EventsSchemaError from None
        finally:
            if not task.done():
                connection.pgconn.finish()
                task.cancel()

    async def publish(self, name: str, payload: bytes, _event_id: str) -> None:
        try:
            # Also the wait for those before: one connection sends all.
            async with asyncio.timeout(self._timeout), self._lock:
                if self._deliver is None:
                    raise NotOpenError("event bus")
                if self._connection is None or self._connection.closed:
                    self._connection = await self._connect()
                await self._execute(
                    self._connection, _PUBLISH, {"name": name, "payload": to_text(self._connection, payload)}
                )
        except _FAULTS as error:
            raise EventsUnavailableError(f"PostgreSQL did not store the event ({type(error).__name__})") from None

    async def publish_in(self, connection: "psycopg.AsyncConnection[Any]", name: str, payload: bytes) -> bool:
        values = {"name": name, "payload": to_text(connection, payload)}
        await run_in_transaction(connection, _fetch(connection, _PUBLISH, values), seconds=self._timeout)
        return True

    async def subscribe(self) -> None:
        try:
            async with asyncio.timeout(self._timeout), await self._connect() as connection:
                await self._register(connection)
        except _FAULTS as error:
            raise EventsUnavailableError(f"PostgreSQL cannot be reached ({type(error).__name__})") from None

    async def receive(self) -> None:
        await repeat_despite_faults(self._receive, faults=_FAULTS, what="Events of PostgreSQL")

    async def _receive(self) -> None:
        async with await self._connect() as connection:
            await self._execute(connection, "LISTEN kpi_events", {})
            await self._register(connection)
            # What a connection has taken that then broke.
            await self._execute(connection, _RELEASE, self._names)
            while True:
                while await self._receive_one(connection):
                    # A group that is never idle must not be forgotten by others.
                    if monotonic() - self._seen_at > _CLEAN_SECONDS:
                        await self._register(connection)
                await self._clean(connection)
                # Woken by a commit; what a pooler or a fault has swallowed is found after a second.
                async for _ in connection.notifies(timeout=_POLL_SECONDS, stop_after=1):
                    pass

    async def _register(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        self._seen_at = monotonic()
        await self._execute(connection, _REGISTER, {**self._names, "days": self._days})

    async def _receive_one(self, connection: "psycopg.AsyncConnection[Any]") -> bool:
        values = {**self._names, "lease": _LEASE_SECONDS}
        found = await self._execute(connection, _TAKE, values)
        if found is None:
            return False
        values["id"], name, payload = found
        assert self._deliver is not None  # noqa: S101 set by open
        try:
            await run_with_renewals(
                self._deliver(name, payload.encode()),
                renew=lambda: self._execute(connection, _RENEW, values),
                every=_LEASE_SECONDS / 3,
            )
        except asyncio.CancelledError:
            # This process stops: another one need not wait for the end of the lease.
            with suppress(*_FAULTS, EventsSchemaError):
                await self._execute(connection, _RELEASE, values)
            raise
        await self._execute(connection, _FINISH, values)
        return True

    async def _clean(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        if monotonic() - self._cleaned_at < _CLEAN_SECONDS:
            return
        self._cleaned_at = monotonic()
        await self._register(connection)
        await self._execute(connection, _FORGET, {})


async def _fetch(
    connection: "psycopg.AsyncConnection[Any]", statement: LiteralString, values: Mapping[str, object]
) -> tuple[Any, ...] | None:
    cursor = await connection.execute(statement, values or None)
    return await cursor.fetchone() if cursor.description else None


create_driver = PostgresqlDriver
