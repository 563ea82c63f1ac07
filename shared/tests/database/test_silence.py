"""Connections that go silent, and statements that are abandoned."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from errno import EMFILE
from typing import Any

import psycopg
import pytest
from kpi_shared.database import Database, watch
from kpi_shared.errors import UnavailableError
from kpi_shared.testing.silent_proxy import SilentProxy
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

pytestmark = pytest.mark.anyio
# Less than any bound of the system or of the driver.
_DEADLINE = 0.5

Use = Callable[[Database], Awaitable[None]]
Administrator = psycopg.AsyncConnection[Any]


async def read_directly(database: Database) -> None:
    async with database.direct() as connection:
        await connection.execute("SELECT 1")


async def read(database: Database) -> None:
    async with database.reading() as connection:
        await connection.execute(text("SELECT 1"))


async def write(database: Database) -> None:
    async with database.writing() as connection:
        await connection.execute(text("SELECT 1"))


async def open_all(database: Database) -> None:
    """Open all connections of both pools."""
    async with database.reading(), database.reading(), database.writing(), database.writing():
        pass


async def try_until(deadline: float, use: Use, database: Database) -> str:
    try:
        async with asyncio.timeout(deadline):
            await use(database)
    except (TimeoutError, DBAPIError, psycopg.OperationalError, UnavailableError) as error:
        return type(error).__name__
    return "done"


@pytest.mark.parametrize("use", [read_directly, read, write])
async def test_a_cancelled_statement_frees_its_place_at_once(use: Use, database: Database, proxy: SilentProxy) -> None:
    await use(database)
    proxy.silence()
    assert await try_until(_DEADLINE, use, database) == "TimeoutError"
    # The driver's own way of cancelling would wait for the silent server here, for 5 seconds at least.
    assert [queue.in_use for queue in database.queues.values()] == [0, 0]
    assert database.state.dropped == {"abandoned": 1}
    # Now the time passes while connecting.
    assert await try_until(_DEADLINE, use, database) == "TimeoutError"
    assert [queue.in_use for queue in database.queues.values()] == [0, 0]
    proxy.resume()
    await use(database)


async def test_a_transaction_that_is_cancelled_between_statements_ends(database: Database, proxy: SilentProxy) -> None:
    async def hold(database: Database) -> None:
        async with database.writing() as connection:
            await connection.execute(text("SELECT 1"))
            proxy.silence()
            await asyncio.sleep(60)

    async with asyncio.timeout(20):
        assert await try_until(_DEADLINE, hold, database) == "TimeoutError"
    assert database.queues["writes"].in_use == 0


async def test_the_server_ends_the_statement_of_a_client_that_has_left(
    database: Database, administrator: Administrator
) -> None:
    async def sleep(database: Database) -> None:
        async with database.direct() as connection:
            await connection.execute("SET statement_timeout = 0")
            await connection.execute("SELECT pg_sleep(600) AS abandoned")

    async def is_running() -> bool:
        statement = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%AS abandoned' AND pid <> pg_backend_pid()"
        return bool(await (await administrator.execute(statement)).fetchall())

    sleeping = asyncio.create_task(try_until(60, sleep, database))
    async with asyncio.timeout(20):
        while not await is_running():
            pass
        sleeping.cancel()
        while await is_running():
            pass


async def test_when_established_connections_go_silent_each_fails_one_statement_at_most(
    database: Database, proxy: SilentProxy
) -> None:
    await open_all(database)
    proxy.silence_established()
    uses = [use for _ in range(30) for use in (read_directly, read, write)]
    results = Counter(await asyncio.gather(*(try_until(10, use, database) for use in uses)))
    # Each of two connections in two pools fails one statement, and no statement waits for the deadline of 10 seconds.
    assert results["OperationalError"] <= 4
    assert results["done"] == len(uses) - results["OperationalError"]


async def test_a_statement_that_the_server_has_not_seen_at_the_first_look_is_answered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_BETWEEN_LOOKS", 60.0)
    async with asyncio.timeout(30), database.direct() as connection:
        process = connection.info.backend_pid
        # As after a pause of our process, in which the statement waited to be sent.
        os.kill(process, signal.SIGSTOP)
        try:
            statement = asyncio.create_task(connection.execute("SELECT 'answered'"))
            while not database.state.suspected:  # noqa: ASYNC110 it is a set and has no event
                await asyncio.sleep(0.01)
        finally:
            os.kill(process, signal.SIGCONT)
        assert await (await statement).fetchone() == ("answered",)


async def test_a_question_finds_silent_connections_before_any_request_does(
    database: Database, proxy: SilentProxy
) -> None:
    async def ask(connection: AsyncConnection) -> int:
        return int(await connection.scalar(text("SELECT 1")) or 0)

    await open_all(database)
    assert await database.ask(ask) == 1
    proxy.silence_established()
    assert await database.ask(ask) == 1
    results = [await try_until(10, use, database) for use in (read_directly, read, write, write)]
    assert results == ["done"] * 4


async def test_a_question_is_answered_in_time_whatever_requests_do(database: Database, proxy: SilentProxy) -> None:
    async def ask(connection: AsyncConnection) -> int:
        return int(await connection.scalar(text("SELECT 1")) or 0)

    async with database.reading(), database.reading(), database.writing(), database.writing():
        assert await database.ask(ask) == 1
    proxy.silence()
    with pytest.raises(TimeoutError):
        await database.ask(ask)
    proxy.resume()
    assert await database.ask(ask) == 1


async def test_work_that_no_request_waits_for_is_bounded(database: Database, proxy: SilentProxy) -> None:
    async def work(database: Database) -> None:
        async with database.working(seconds=_DEADLINE) as connection:
            proxy.silence()
            await connection.execute(text("SELECT 1"))

    assert await try_until(20, work, database) == "TimeoutError"
    proxy.resume()
    async with database.working(seconds=7) as connection:
        assert await connection.scalar(text("SHOW statement_timeout")) == "7s"
    async with database.writing() as connection:
        assert await connection.scalar(text("SHOW statement_timeout")) == "1800ms"


async def test_the_watch_goes_on_after_any_error(
    database: Database, proxy: SilentProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = asyncio.Semaphore(0)

    def fail(_descriptor: int) -> int:
        failures.release()
        raise OSError(EMFILE, "too many open files")

    with monkeypatch.context() as patched:
        # Of the sockets only the watch makes duplicates.
        patched.setattr(os, "dup", fail)
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            with capture_logs() as logs:
                await read_directly(database)
                proxy.silence_established()
                reader = group.create_task(try_until(20, read_directly, database))
                await failures.acquire()
                await failures.acquire()
                patched.undo()
                assert await reader == "OperationalError"
    errors = [each["event"] for each in logs if each["log_level"] == "error"]
    assert errors[:2] == ["long statements could not be looked up"] * 2
