"""Jobs in a schema of the service's database, kept and fetched by procrastinate."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from procrastinate.exceptions import UniqueViolation
from psycopg_pool import AsyncConnectionPool

from kpi_kit.queue.contract import WorkPlan
from kpi_kit.queue.drivers import statements
from kpi_kit.queue.drivers.connecting import (
    DatabaseTarget,
    QueueConnector,
    create_pool,
    read_target,
    run_or_close,
    typed_errors,
)
from kpi_kit.queue.drivers.managing import to_json
from kpi_kit.queue.drivers.working import PostgresWorker
from kpi_kit.queue.envelopes import Envelope
from kpi_kit.queue.errors import KeyBusyError, QueueNotOpenError
from kpi_kit.queue.handlers import Handlers
from kpi_kit.queue.outcomes import FailedJob, Pushed, QueueStatus
from kpi_kit.transactions import find_psycopg
from kpi_kit.urls import Url

# How often a retry of failed jobs is tried that others cross with jobs of the same key.
_ATTEMPTS = 20
_END_OF_IDS = 2**63


class PostgresQueue:
    """``QueueDriver``. Its pool connects in the background, so a service can start before its database."""

    def __init__(self, target: DatabaseTarget) -> None:
        self._target = target
        self._connector = QueueConnector()
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] | None = None
        self._handlers: Handlers | None = None

    async def open(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._connector = QueueConnector()
        self._pool = create_pool(self._target)
        await self._pool.open(wait=False)
        await self._connector.open_async(pool=self._pool)

    async def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close()

    async def push(self, envelopes: Sequence[Envelope], connection: object | None) -> list[Pushed]:
        # Only a single job can have a key: the contract pushes several without one.
        if len(envelopes) == 1 and envelopes[0].unique is not None:
            row = (await self._call(statements.PUSH_UNIQUE, connection, job=to_json(envelopes[0])))[0]
            if row["id"] is None:
                raise KeyBusyError
            return [Pushed(row["id"], row["is_new"])]
        rows = await self._call(statements.PUSH_ALL, connection, jobs=f"[{','.join(map(to_json, envelopes))}]")
        return [Pushed(row["id"]) for row in rows]

    @asynccontextmanager
    async def work(self, plan: WorkPlan) -> AsyncIterator[None]:
        if self._handlers is None or self._pool is None:
            raise QueueNotOpenError
        worker = PostgresWorker(self._connector, self._handlers, plan, self._target)
        try:
            yield
        finally:
            await worker.stop()

    async def count(self) -> list[QueueStatus]:
        rows = await self._call(statements.COUNT)
        return [QueueStatus(row.pop("queue_name"), **row) for row in rows]

    async def list_failed(self, limit: int) -> list[FailedJob]:
        return [_read_failed(row) for row in await self._call(statements.LIST_FAILED, limit=limit)]

    async def retry_failed(self, ids: Sequence[int] | None) -> int:
        """A push can take a key between the look at it and the retry: then all of them are looked at anew."""
        wanted = None if ids is None else _list_possible(ids)
        with typed_errors():
            for _ in range(_ATTEMPTS - 1):
                try:
                    return len(await self._execute(statements.RETRY_FAILED, ids=wanted))
                except UniqueViolation:
                    continue
            return len(await self._execute(statements.RETRY_FAILED, ids=wanted))

    async def forget_failed(self, ids: Sequence[int]) -> int:
        return len(await self._call(statements.FORGET_FAILED, ids=_list_possible(ids)))

    async def _call(self, query: str, connection: object | None = None, **arguments: object) -> list[dict[str, Any]]:
        with typed_errors():
            return await self._execute(query, connection, **arguments)

    async def _execute(self, query: str, connection: object | None = None, **arguments: object) -> list[dict[str, Any]]:
        if self._pool is None:
            raise QueueNotOpenError
        run = self._connector.execute_query_all_async_with_connection
        async with asyncio.timeout(self._target.timeout):
            if connection is not None:
                return await run(await find_psycopg(connection), query, **arguments)
            async with self._pool.connection() as own:
                return await run_or_close(own, run(own, query, **arguments))


def _list_possible(ids: Sequence[int]) -> list[int]:
    """Those that a bigint can hold: no job has another."""
    return [each for each in ids if abs(each) < _END_OF_IDS]


def _read_failed(row: dict[str, Any]) -> FailedJob:
    then = tuple(each[0] for each in row["then"])
    return FailedJob(
        row["id"], row["task_name"], row["queue_name"], row["attempts"], row["error"], row["failed_at"], then
    )


def create_driver(url: Url) -> PostgresQueue:
    return PostgresQueue(read_target(url))
