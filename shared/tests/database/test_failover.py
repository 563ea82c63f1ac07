"""A primary that becomes read-only while another server takes over, and hosts that are silent."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from typing import Any

import psycopg
import pytest
from kpi_shared.database import Database, ReadOnlyDatabaseError
from kpi_shared.database.driver import ServiceConnection
from kpi_shared.testing.postgres import TestServer
from kpi_shared.testing.silent_proxy import SilentProxy, running_proxy
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InternalError
from sqlalchemy.ext.asyncio import AsyncConnection

pytestmark = pytest.mark.anyio
OpenDatabase = Callable[[str], AbstractAsyncContextManager[Database]]


class Server:
    """A real server behind a proxy, with a table that says which one it is."""

    def __init__(self, url: str, proxy: SilentProxy, name: str) -> None:
        self.proxy = proxy
        self.port = proxy.port
        self._url = url
        self._run(f"CREATE TABLE IF NOT EXISTS servers AS SELECT '{name}' AS name", "CREATE TABLE writes (id int)")

    def set_read_only(self, value: str) -> None:
        self._run(f"ALTER SYSTEM SET default_transaction_read_only = {value}", "SELECT pg_reload_conf()")
        with psycopg.connect(self._url) as connection:
            while connection.execute("SHOW default_transaction_read_only").fetchall() != [(value,)]:
                connection.rollback()

    def end_connections(self) -> None:
        """Return when the server has ended all but its own, as a primary that stops does."""
        others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}".encode())
        self.proxy.wait_for_ends()

    def _run(self, *statements: str) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@contextmanager
def running_server(name: str) -> Iterator[Server]:
    server = TestServer()
    try:
        with running_proxy(server.url) as proxy:
            yield Server(server.url, proxy, name)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def started() -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(running_server(name)) for name in ("first", "second")]


@pytest.fixture
def servers(started: list[Server]) -> Iterator[list[Server]]:
    """The first is a primary, the second read-only, as a standby is."""
    started[0].set_read_only("off")
    started[1].set_read_only("on")
    yield started
    for server in started:
        server.proxy.resume()


def address(servers: list[Server]) -> str:
    return servers[0].proxy.url_with(",".join(f"127.0.0.1:{server.port}" for server in servers))


async def find_server(database: Database) -> str:
    async with database.reading() as connection:
        return str(await connection.scalar(text("SELECT name FROM servers")))


async def write(database: Database) -> str:
    async with database.writing() as connection:
        await connection.execute(text("INSERT INTO writes VALUES (1)"))
        return str(await connection.scalar(text("SELECT name FROM servers")))


async def ask(connection: AsyncConnection) -> str:
    return str(await connection.scalar(text("SELECT name FROM servers")))


async def test_after_a_failover_one_write_fails_and_the_next_finds_the_primary(
    servers: list[Server], open_database: OpenDatabase
) -> None:
    old, new = servers
    async with open_database(address(servers)) as database:
        assert [await write(database), await find_server(database)] == ["first", "first"]
        old.set_read_only("on")
        new.set_read_only("off")
        with pytest.raises(InternalError, match="read-only"):
            await write(database)
        # The reads' connections, which would still be answered, leave the old primary as well.
        assert [await write(database), await find_server(database)] == ["second", "second"]
        assert database.state.dropped == {"25006": 1}


async def test_a_question_finds_the_failover_before_any_write_does(
    servers: list[Server], open_database: OpenDatabase
) -> None:
    old, new = servers
    async with open_database(address(servers)) as database:
        assert [await database.ask(ask), await write(database), await find_server(database)] == ["first"] * 3
        old.set_read_only("on")
        new.set_read_only("off")
        assert await database.ask(ask) == "second"
        assert [await write(database), await find_server(database)] == ["second"] * 2


async def test_a_read_only_database_is_not_ready(servers: list[Server], open_database: OpenDatabase) -> None:
    async with open_database(servers[1].proxy.url) as database:
        with pytest.raises(ReadOnlyDatabaseError):
            await database.ask(ask)
        # Reads still work where there is only this one.
        assert await find_server(database) == "second"
        servers[1].set_read_only("off")
        assert await database.ask(ask) == "second"


async def test_a_silent_host_leaves_a_request_the_time_to_reach_the_next(
    servers: list[Server], open_database: OpenDatabase
) -> None:
    old, new = servers
    old.proxy.silence()
    new.set_read_only("off")
    async with open_database(address(servers)) as database:
        async with asyncio.timeout(2):
            assert await find_server(database) == "second"
        # The writes' connections know it now.
        accepted = old.proxy.accepted
        assert [await find_server(database), await find_server(database)] == ["second"] * 2
        assert old.proxy.accepted == accepted


async def test_where_the_address_names_the_attributes_they_apply(
    servers: list[Server], open_database: OpenDatabase
) -> None:
    async with open_database(f"{address(servers)}&target_session_attrs=read-only") as database:
        assert await find_server(database) == "second"
    async with open_database(f"{address(servers[1:] * 2)}&target_session_attrs=any") as database:
        assert await find_server(database) == "second"
    async with open_database(address(servers[1:] * 2)) as database:
        with pytest.raises(DBAPIError, match="read-only"):
            await find_server(database)


async def test_the_first_requests_after_a_failover_succeed(servers: list[Server], open_database: OpenDatabase) -> None:
    old, new = servers
    async with open_database(address(servers)) as database:
        assert [await write(database), await find_server(database)] == ["first", "first"]
        old.set_read_only("on")
        new.set_read_only("off")
        old.end_connections()
        assert [await find_server(database), await write(database)] == ["second", "second"]


async def test_a_connection_that_was_opened_while_others_were_found_bad_is_opened_anew(
    servers: list[Server], open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = servers
    connect = ServiceConnection.connect

    async def fail_over(**more: Any) -> ServiceConnection:
        connection = await connect(**more)
        old.set_read_only("on")
        new.set_read_only("off")
        database.state.doubt()
        monkeypatch.setattr(ServiceConnection, "connect", connect)
        return connection

    async with open_database(address(servers)) as database:
        assert await write(database) == "first"
        old.end_connections()
        monkeypatch.setattr(ServiceConnection, "connect", fail_over)
        assert await write(database) == "second"
