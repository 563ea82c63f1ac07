"""How long the events of a group are kept: as long as its own processes say, whatever others do."""

import asyncio
from typing import Any, LiteralString

import nats
import psycopg
import pytest
from events_support import Case, Ear, OrderCreated, UserCreated, until, until_received
from kpi_shared.testing.nats_server import Broker

ANNA = UserCreated(name="Anna")


async def execute(database: str, statement: LiteralString) -> list[Any]:
    """The first column."""
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        cursor = await connection.execute(statement)
        return [row[0] for row in await cursor.fetchall()] if cursor.description else []


@pytest.mark.parametrize("durable", ["postgresql"], indirect=True)
async def test_a_group_that_is_never_idle_is_seen(durable: Case, database: str) -> None:
    ear, begun, may_end = Ear(), asyncio.Event(), asyncio.Event()
    ages: list[bool] = []

    async def listen(_event: UserCreated) -> None:
        if not begun.is_set():
            begun.set()
            await may_end.wait()
        else:
            # While this event is handled, the queue has not been empty since the first one.
            ages.append(
                (await execute(database, "SELECT seen_at > now() - interval '1 day' FROM kpi_events.groups"))[0]
            )

    async with durable.build() as bus:
        bus.listen(UserCreated, listen)
        bus.listen(OrderCreated, ear)
        await until_received(bus, ear)
        await bus.dispatch(ANNA)
        await begun.wait()
        await bus.dispatch(ANNA)
        old = "UPDATE kpi_events.groups SET seen_at = now() - interval '8 days' RETURNING true"
        assert await execute(database, old) == [True]
        bus._driver._seen_at -= 10_000  # type: ignore[attr-defined]
        may_end.set()
        await until(lambda: bool(ages))
    assert ages == [True]


@pytest.mark.parametrize("durable", ["postgresql"], indirect=True)
async def test_postgresql_keeps_the_events_of_each_group_for_as_long_as_it_says(durable: Case, database: str) -> None:
    ear = Ear()
    for group, days in (("long", 30), ("short", 1)):
        async with durable.build(group=group, keep_days=days) as bus:
            bus.listen(OrderCreated, ear)
            await until_received(bus, ear)
    async with durable.build() as sender:
        await sender.dispatch(ANNA)
    # Ten days without a process of either group.
    await execute(database, "UPDATE kpi_events.deliveries SET created_at = created_at - interval '10 days'")
    await execute(database, "UPDATE kpi_events.groups SET seen_at = seen_at - interval '10 days'")
    async with durable.build(group="other", keep_days=7) as bus:
        bus.listen(OrderCreated, ear)
        await until_received(bus, ear)
        remaining = "SELECT name FROM kpi_events.groups ORDER BY name"
        async with asyncio.timeout(30):
            while await execute(database, remaining) != ["long", "other"]:  # noqa: ASYNC110 it is in the database
                await asyncio.sleep(0.05)
    async with durable.build(group="long", keep_days=30) as bus:
        bus.listen(UserCreated, ear)
        await until(lambda: ear.heard == [ANNA])


async def test_the_stream_of_nats_keeps_events_for_as_long_as_any_group_says(broker: Broker) -> None:
    case, ear = Case("nats", f"{broker.url}?stream=KEPT"), Ear()
    days = []
    client = await nats.connect(broker.url)
    for group, wanted in (("short", 1), ("long", 30), ("short", 1)):
        async with case.build(group=group, keep_days=wanted) as bus:
            bus.listen(OrderCreated, ear)
            await until_received(bus, ear)
        info = await client.jetstream().stream_info("KEPT")
        assert info.config.max_age is not None
        days.append(info.config.max_age / 86400)
    await client.close()
    assert days == [1, 30, 30]
