"""An event is dispatched if and when the transaction commits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from events_support import Case, Ear, OrderCreated, UserCreated, until, until_received
from kpi_kit.events import EventBus, EventFake, EventTooLargeError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

ANNA, BEA = UserCreated(name="Anna"), UserCreated(name="Bea\n")
END = OrderCreated(number=9)


@pytest.fixture
async def connection(database: str) -> AsyncIterator["psycopg.AsyncConnection[Any]"]:
    async with await psycopg.AsyncConnection.connect(database) as found:
        yield found


@asynccontextmanager
async def listening(case: Case) -> AsyncIterator[tuple[EventBus, Ear, Callable[[], Awaitable[list[object]]]]]:
    """The bus, its ear, and what has been heard when all that was sent before has."""
    ear = Ear()
    async with case.build() as bus:
        bus.listen("*", ear)
        await until_received(bus, ear)

        async def collect() -> list[object]:
            # What waits for a commit is sent by tasks of the bus.
            await asyncio.gather(*bus._tasks)
            await bus.dispatch(END)
            await until(lambda: END in ear.heard)
            return [event for event in ear.heard if event != END]

        yield bus, ear, collect


async def test_a_commit_dispatches_and_a_rollback_discards(
    case: Case, connection: "psycopg.AsyncConnection[Any]"
) -> None:
    async with listening(case) as (bus, ear, collect):
        await bus.dispatch_after_commit(ANNA, connection=connection)
        await connection.execute("SELECT 1")
        assert not ear.heard, "it does not wait for the transaction"
        await connection.rollback()
        await bus.dispatch_after_commit(BEA, connection=connection)
        await connection.commit()
        # The same connection again, with what the rollback has undone.
        async with connection.transaction():
            await bus.dispatch_after_commit(ANNA, connection=connection)
        assert await collect() == [BEA, ANNA]


async def test_equal_events_of_one_transaction_are_all_dispatched(
    case: Case, connection: "psycopg.AsyncConnection[Any]"
) -> None:
    async with listening(case) as (bus, _, collect):
        async with connection.transaction():
            for event in (ANNA, ANNA, BEA, ANNA):
                await bus.dispatch_after_commit(event, connection=connection)
        assert sorted(str(event) for event in await collect()) == sorted(map(str, (ANNA, ANNA, ANNA, BEA)))


async def test_a_savepoint_that_is_rolled_back_discards(case: Case, connection: "psycopg.AsyncConnection[Any]") -> None:
    async with listening(case) as (bus, _, collect):
        async with connection.transaction():
            await bus.dispatch_after_commit(ANNA, connection=connection)
            async with connection.transaction(force_rollback=True):
                await bus.dispatch_after_commit(BEA, connection=connection)
        assert await collect() == [ANNA]


async def test_a_commit_that_becomes_a_rollback_discards(
    case: Case, connection: "psycopg.AsyncConnection[Any]"
) -> None:
    async with listening(case) as (bus, _, collect):
        await bus.dispatch_after_commit(ANNA, connection=connection)
        with pytest.raises(psycopg.Error):
            await connection.execute("SELECT 1 / 0")
        # PostgreSQL answers ROLLBACK to this, which raises nothing.
        await connection.commit()
        await connection.execute("CREATE TEMPORARY TABLE one (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        await bus.dispatch_after_commit(BEA, connection=connection)
        await connection.execute("INSERT INTO one VALUES (1), (1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            await connection.commit()
        assert await collect() == []


async def test_connections_and_sessions_of_sqlalchemy(case: Case, database: str) -> None:
    engine = create_async_engine(database.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    async with listening(case) as (bus, _, collect):
        async with engine.begin() as connection:
            await connection.execute(text("SELECT 1"))
            await bus.dispatch_after_commit(ANNA, connection=connection)
        async with engine.connect() as connection, connection.begin() as transaction:
            await bus.dispatch_after_commit(BEA, connection=connection)
            await transaction.rollback()
        async with AsyncSession(engine) as session:
            await session.execute(text("SELECT 1"))
            await bus.dispatch_after_commit(BEA, connection=session)
            await session.commit()
            await session.execute(text("SELECT 1"))
            await bus.dispatch_after_commit(ANNA, connection=session)
        assert await collect() == [ANNA, BEA]
    await engine.dispose()


async def test_many_connections_dispatch_each_event_once(case: Case, database: str) -> None:
    async def write(number: int) -> None:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await bus.dispatch_after_commit(OrderCreated(number=number), connection=connection)

    async with listening(case) as (bus, _, collect):
        await asyncio.gather(*(write(number) for number in range(10, 20)))
        numbers = sorted(event.number for event in await collect() if isinstance(event, OrderCreated))
        assert numbers == list(range(10, 20))


async def test_buses_that_share_a_connection_get_their_own_events(
    case: Case, connection: "psycopg.AsyncConnection[Any]"
) -> None:
    async with listening(case) as (bus, _, collect), EventFake(events=[UserCreated]) as other:
        await bus.dispatch_after_commit(ANNA, connection=connection)
        await other.dispatch_after_commit(BEA, connection=connection)
        await connection.commit()
        assert await collect() == [ANNA]
        await asyncio.gather(*other._tasks)
        assert other.find(UserCreated) == [BEA]


async def test_a_size_that_a_notification_cannot_have_is_refused(
    case: Case, connection: "psycopg.AsyncConnection[Any]"
) -> None:
    async with listening(case) as (bus, _, collect):
        large = UserCreated(name="ä" * 3890)
        await bus.dispatch_after_commit(large, connection=connection)
        await connection.commit()
        larger = UserCreated(name="ä" * 5000)
        if case.name == "postgresql":
            await bus.dispatch_after_commit(larger, connection=connection)
            await connection.commit()
            assert await collect() == [large, larger]
        else:
            with pytest.raises(EventTooLargeError):
                await bus.dispatch_after_commit(larger, connection=connection)
            assert await collect() == [large]


async def test_what_no_connection_is_is_refused(case: Case) -> None:
    async with case.build() as bus:
        with pytest.raises(TypeError, match="psycopg"):
            await bus.dispatch_after_commit(ANNA, connection=object())
