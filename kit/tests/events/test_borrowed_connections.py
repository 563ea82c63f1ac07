"""Events on the connection of their caller, and what becomes of them when the bus closes."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from events_support import EVENTS, Case, Ear, UserCreated, UserRenamed, until
from kpi_kit.events import Event, EventBus, EventError, EventsUnavailableError, Failure, InvalidEventError, after_commit
from kpi_kit.events.fake import FakeDriver
from kpi_shared.testing.postgres import TestServer
from pydantic import Field, SecretStr

ANNA, BEA = UserCreated(name="Anna"), UserCreated(name="Bea")


@pytest.fixture
async def connection(database: str) -> AsyncIterator["psycopg.AsyncConnection[Any]"]:
    async with await psycopg.AsyncConnection.connect(database) as found:
        yield found


async def test_a_transaction_that_is_aborted_or_gone_is_an_error_of_the_kit(
    case: Case, connection: "psycopg.AsyncConnection[Any]"
) -> None:
    async with case.build() as bus:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await connection.execute("SELECT 1 / 0")
        with pytest.raises(EventError) as refused:
            await bus.dispatch_after_commit(ANNA, connection=connection)
        assert not isinstance(refused.value, EventsUnavailableError), "another attempt would fail, too"
        await connection.rollback()
        await connection.close()
        with pytest.raises(EventsUnavailableError):
            await bus.dispatch_after_commit(ANNA, connection=connection)


async def test_a_transaction_on_a_server_that_stands_still_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(after_commit, "_TIMEOUT", 0.3)
    server = TestServer()
    try:
        bus = EventBus.from_url("memory://", events=EVENTS)
        async with bus, await psycopg.AsyncConnection.connect(server.url) as connection:
            pid = connection.info.backend_pid
            os.kill(pid, signal.SIGSTOP)
            try:
                with pytest.raises(EventsUnavailableError):
                    await bus.dispatch_after_commit(ANNA, connection=connection)
            finally:
                os.kill(pid, signal.SIGCONT)
    finally:
        server.stop()


async def test_the_encoding_of_a_connection_does_not_matter(case: Case, database: str) -> None:
    ear, event = Ear(), UserCreated(name="Zoë 🐝")
    async with case.build() as bus:
        bus.listen(UserCreated, ear)
        async with await psycopg.AsyncConnection.connect(database, client_encoding="LATIN1") as connection:
            await bus.dispatch_after_commit(event, connection=connection)
            await connection.commit()
            await until(lambda: ear.heard == [event])


@pytest.mark.parametrize("name", ["fake", "memory"])
async def test_a_transaction_does_not_wait_for_the_listeners_of_the_last_one(
    name: str, connection: "psycopg.AsyncConnection[Any]"
) -> None:
    ends, ear = asyncio.Event(), Ear()

    async def wait(event: UserCreated) -> None:
        await ends.wait()

    async with Case(name, f"{name}://").build() as bus:
        bus.listen(UserCreated, wait)
        bus.listen(UserRenamed, ear)
        await bus.dispatch_after_commit(ANNA, connection=connection)
        await connection.commit()
        await bus.dispatch_after_commit(UserRenamed(name="Bea"), connection=connection)
        await connection.commit()
        await until(lambda: bool(ear.heard))
        ends.set()
    assert not bus.failures


@pytest.mark.parametrize("name", ["fake", "memory", "nats"])
async def test_what_is_committed_after_the_bus_has_closed_is_noted_as_lost(
    name: str, connection: "psycopg.AsyncConnection[Any]", request: pytest.FixtureRequest
) -> None:
    url = f"{request.getfixturevalue('broker').url}?stream=CLOSED" if name == "nats" else f"{name}://"
    bus = Case(name, url).build()
    async with bus:
        await bus.dispatch_after_commit(ANNA, connection=connection)
    await connection.commit()
    await until(lambda: bool(bus.failures))
    assert list(bus.failures) == [Failure("dispatch_after_commit", "user.created", "NotOpenError")]


async def test_what_a_listener_dispatches_while_the_bus_closes_is_heard(
    connection: "psycopg.AsyncConnection[Any]",
) -> None:
    ear = Ear()
    bus = EventBus.from_url("memory://", events=EVENTS)

    async def go_on(event: UserCreated) -> None:
        await asyncio.sleep(0)
        await bus.dispatch(UserRenamed(name=event.name))

    async with bus:
        bus.listen(UserCreated, go_on)
        bus.listen(UserRenamed, ear)
        await bus.dispatch_after_commit(ANNA, connection=connection)
        await connection.commit()
    assert ear.heard == [UserRenamed(name="Anna")]
    assert not bus.failures


async def test_each_attempt_sends_an_event_with_its_one_id(connection: "psycopg.AsyncConnection[Any]") -> None:
    ids: list[str] = []

    class Recorder(FakeDriver):
        async def publish(self, name: str, payload: bytes, event_id: str) -> None:
            ids.append(event_id)
            await super().publish(name, payload, event_id)

    driver = Recorder()
    async with EventBus(driver, name="fake", events=EVENTS) as bus:
        driver.is_down = True
        await bus.dispatch_after_commit(ANNA, connection=connection)
        await connection.commit()
        await until(lambda: len(ids) >= 2)
        driver.is_down = False
        await bus._committed.finish()
        assert len(set(ids)) == 1
        await bus.dispatch(BEA)
        assert len(set(ids)) == 2


class Odd(Event):
    event_name = "odd"
    amount: float = 0
    password: SecretStr = SecretStr("")
    text: str = ""
    other: object = None
    renamed: int = Field(default=1, alias="old")


@pytest.mark.parametrize(
    "event",
    [Odd(amount=float("inf")), Odd(password=SecretStr("a")), Odd(text="\ud800"), Odd(other={1})],
    ids=["inf", "secret", "surrogate", "set"],
)
async def test_a_value_that_does_not_come_back_is_refused(event: Event) -> None:
    async with EventBus.from_url("memory://", events=[Odd]) as bus:
        with pytest.raises(InvalidEventError, match="Odd"):
            await bus.dispatch(event)


async def test_a_field_with_an_alias_comes_back() -> None:
    ear, event = Ear(), Odd(old=7)
    async with EventBus.from_url("memory://", events=[Odd]) as bus:
        bus.listen(Odd, ear)
        await bus.dispatch(event)
    assert ear.heard == [event]
