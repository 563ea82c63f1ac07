"""The table of the kit, and what is a part of the caller's transaction."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest
from kpi_kit.notify import Notifier, Outcome, Recipient
from kpi_kit.notify.contents import ContentKind
from kpi_kit.notify.drivers.database import DatabaseChannel
from kpi_kit.notify.drivers.memory import MemoryChannel
from kpi_kit.notify.drivers.postgres import PostgresStore
from kpi_kit.queue import Queue
from kpi_kit.queue.schema import upgrade_sql
from kpi_shared.testing.postgres import create_database
from notify_servers import InvoicePaid
from queue_support import until_idle
from sqlalchemy.ext.asyncio import create_async_engine

ANNA, BERT = Recipient("42"), Recipient("43")


@pytest.fixture(scope="module")
def url(worker: str) -> str:
    made = create_database(f"kit_notify_store_{worker}").replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(made) as connection:
        connection.execute(upgrade_sql().encode())
    return made


@pytest.fixture
async def store(url: str) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(url) as store:
        await store.create_table()
        yield store
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("TRUNCATE kpi_notifications")


async def add(store: PostgresStore, *numbers: int, recipient: str = "42") -> None:
    for number in numbers:
        await store.add(delivery_id=f"{recipient}-{number}", recipient=recipient, kind="paid", data={"number": number})


async def test_pages_have_own_ones_newest_first(store: PostgresStore) -> None:
    await add(store, 1, 2, 3, 4)
    await add(store, 9, recipient="43")
    first = await store.list_page("42", limit=3)
    assert [row.data["number"] for row in first] == [4, 3, 2]
    rest = await store.list_page("42", limit=3, before=first[-1].id)
    assert [(row.data["number"], row.kind, row.read_at) for row in rest] == [(1, "paid", None)]


async def test_they_are_read_by_their_recipient_alone(store: PostgresStore) -> None:
    await add(store, 1, 2, 3)
    newest, middle, _ = await store.list_page("42")
    assert not await store.mark_read("43", middle.id)
    assert await store.mark_read("42", middle.id)
    assert [row.data["number"] for row in await store.list_page("42", is_unread=True)] == [3, 1]
    assert (await store.count_unread("42"), await store.mark_all_read("42")) == (2, 2)
    assert await store.count_unread("42") == 0
    again = [row.read_at for row in await store.list_page("42") if row.id == middle.id]
    assert await store.mark_read("42", middle.id)
    assert again == [row.read_at for row in await store.list_page("42") if row.id == middle.id]
    assert newest.read_at is None


async def test_a_delivery_that_is_attempted_twice_is_one_row(store: PostgresStore) -> None:
    await asyncio.gather(*(add(store, 1) for _ in range(4)))
    assert len(await store.list_page("42")) == 1


async def test_without_a_queue_the_row_is_a_part_of_the_transaction(store: PostgresStore, url: str) -> None:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    notification = InvoicePaid(number=1, channels=["database"])
    async with Notifier.from_urls({}, store=store) as notifier:
        async with engine.connect() as connection:
            await connection.begin()
            [receipt] = await notifier.send(notification, ANNA, connection=connection)
            assert receipt.outcome is Outcome.SENT
            await connection.rollback()
        assert await store.list_page("42") == []
        async with await psycopg.AsyncConnection.connect(url) as own:
            await notifier.send(notification, [ANNA, BERT], connection=own)
    assert (await store.count_unread("42"), await store.count_unread("43")) == (1, 1)
    await engine.dispose()


async def test_with_a_queue_the_jobs_are_a_part_of_the_transaction(store: PostgresStore, url: str) -> None:
    sms = MemoryChannel(ContentKind.SMS)
    anna = ANNA.route("sms", "+15550100")
    async with Queue.from_url(url) as queue:
        notifier = Notifier({"database": DatabaseChannel(store, 10.0), "sms": sms}, queue=queue)
        async with notifier, queue.work():
            async with await psycopg.AsyncConnection.connect(url) as connection:
                await notifier.send(InvoicePaid(number=1, channels=["database", "sms"]), anna, connection=connection)
                await connection.rollback()
            async with await psycopg.AsyncConnection.connect(url) as connection:
                await notifier.send(InvoicePaid(number=2, channels=["database", "sms"]), anna, connection=connection)
            await until_idle(queue)
        assert await queue.failed() == []
    assert [row.data["number"] for row in await store.list_page("42")] == [2]
    assert [delivery.content["text"] for delivery in sms.deliveries] == ["Invoice 2 is paid"]
