"""An event is dispatched if and when the transaction commits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from events_support import EVENTS, Case, Ear, OrderCreated, UserCreated, Watch, until, until_received
from kpi_kit.events import EventBus, EventFake, EventTooLargeError, Failure, committed
from kpi_kit.events.fake import FakeDriver
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
            await bus._committed.finish()
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
        assert await collect() == [ANNA, ANNA, BEA, ANNA]


async def test_events_of_one_transaction_arrive_in_the_order_of_their_dispatch(
    case: Case, connection: "psycopg.AsyncConnection[Any]"
) -> None:
    heard: list[str] = []

    async def hear_the_first_for_longest(event: UserCreated) -> None:
        for _ in range(100 - 20 * int(event.name)):
            await asyncio.sleep(0)
        heard.append(event.name)

    async with listening(case) as (bus, _, collect):
        bus.listen(UserCreated, hear_the_first_for_longest)
        sent = [UserCreated(name=str(number)) for number in range(5)]
        for event in sent:
            await bus.dispatch_after_commit(event, connection=connection)
        await connection.commit()
        assert await collect() == sent
    assert heard == [event.name for event in sent]


async def test_a_listener_that_cancels_its_task_stops_no_other_event_of_the_transaction(
    case: Case, connection: "psycopg.AsyncConnection[Any]", caplog: pytest.LogCaptureFixture
) -> None:
    ear = Ear()

    async def cancel_itself(event: UserCreated) -> None:
        task = asyncio.current_task()
        if event == ANNA and task is not None:
            task.cancel()
            await asyncio.sleep(0)

    async with listening(case) as (bus, _, collect):
        bus.listen(UserCreated, cancel_itself)
        bus.listen(UserCreated, ear)
        for event in (ANNA, BEA):
            await bus.dispatch_after_commit(event, connection=connection)
        await connection.commit()
        assert await collect() == [ANNA, BEA]
    assert ear.heard == [BEA]
    assert "was not delivered to all" in caplog.text


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
        await other._committed.finish()
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


@asynccontextmanager
async def sending_while_down(
    connection: "psycopg.AsyncConnection[Any]", watch: Watch
) -> AsyncIterator[tuple[EventBus, FakeDriver]]:
    """Two events are committed while the server is down, and the first attempt has failed."""
    driver = FakeDriver()
    async with EventBus(driver, name="fake", events=EVENTS, observer=watch) as bus:
        driver.is_down = True
        for event in (ANNA, BEA):
            await bus.dispatch_after_commit(event, connection=connection)
        await connection.commit()
        await until(lambda: ("events", "dispatch", "fake", "EventsUnavailableError") in watch.seen)
        yield bus, driver


async def test_what_cannot_be_sent_after_the_commit_is_sent_later_in_its_order(
    connection: "psycopg.AsyncConnection[Any]",
) -> None:
    watch = Watch()
    async with sending_while_down(connection, watch) as (bus, driver):
        assert not driver.published
        driver.is_down = False
        await bus._committed.finish()
        assert [payload.decode() for _, payload in driver.published] == [ANNA.model_dump_json(), BEA.model_dump_json()]
        assert not bus.failures


@pytest.mark.parametrize("limits", [{"_PATIENCE_SECONDS": 0}, {"_MAX_WAITING": 1}, {}])
async def test_what_is_given_up_after_the_commit_is_logged_and_counted(
    connection: "psycopg.AsyncConnection[Any]",
    limits: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a limit, at the end of the bus."""
    for name, value in limits.items():
        monkeypatch.setattr(committed, name, value)
    watch = Watch()
    async with sending_while_down(connection, watch) as (bus, driver):
        pass
    lost = Failure("dispatch_after_commit", "user.created", "EventsUnavailableError")
    assert list(bus.failures) == [lost] * 2
    assert caplog.text.count("The event user.created was committed, and is lost (EventsUnavailableError)") == 2
    assert watch.seen.count(("events", "lose_after_commit", "fake", "EventsUnavailableError")) == 2
    assert not driver.published
