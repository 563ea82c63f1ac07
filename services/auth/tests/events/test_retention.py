"""Which events are deleted by age, and what a reader that comes too late is told."""

from datetime import timedelta

import pytest
from kpi_auth.events import repository, retention
from kpi_auth.events.models import EventType
from kpi_auth.events.payloads import KeyKilled, SessionEnded
from kpi_auth.events.relay import Relay
from kpi_auth.housekeeping import tidy
from kpi_auth.settings import AuthSettings
from kpi_shared.database import Database
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

KEPT = timedelta(days=30)
_AGE = text("UPDATE events SET occurred_at = now() - :age WHERE id = (SELECT max(id) FROM events)")


@pytest.fixture
async def places(database: Database) -> list[int]:
    """Events of 50, 40, 40 (a killed key), 35 and 10 days, and one of 60 days without a place."""
    ages = [50, 40, 40, 35, 10]
    for number, days in enumerate(ages):
        await put(database, number, days)
    await Relay(database).step()
    await put(database, 9, 60)
    async with database.reading() as connection:
        return [event.seq for event in await repository.get_page(connection, after=0, most=10)]


async def put(database: Database, number: int, days: int) -> None:
    async with database.writing() as connection:
        if number == 2:
            await repository.put(connection, EventType.KEY_KILLED, KeyKilled(kid="k4.lid.x"))
        else:
            ended = SessionEnded(session_id=number + 1, reason="logout")
            await repository.put(connection, EventType.SESSION_ENDED, ended)
        await connection.execute(_AGE, {"age": timedelta(days=days)})


async def forget(database: Database, *, most: int = 100, readers: tuple[retention.FindNeeded, ...] = ()) -> int:
    async with database.working() as connection:
        return await retention.forget_old(connection, most=most, kept=KEPT, readers=readers)


async def find_kept(database: Database) -> list[int | None]:
    async with database.reading() as connection:
        return list((await connection.execute(text("SELECT seq FROM events ORDER BY id"))).scalars())


async def test_old_events_go_but_no_killed_key_and_none_without_a_place(database: Database, places: list[int]) -> None:
    assert await forget(database) == 3
    assert await find_kept(database) == [places[2], places[4], None]
    async with database.reading() as connection:
        assert await repository.get_ends(connection) == (places[3], places[4])
    assert await forget(database) == 0


async def test_they_go_in_steps_in_their_order(database: Database, places: list[int]) -> None:
    assert await forget(database, most=1) == 1
    assert await find_kept(database) == [*places[1:], None]
    assert await forget(database, most=1) == 1
    assert await forget(database, most=1) == 1
    assert await forget(database, most=1) == 0
    assert await find_kept(database) == [places[2], places[4], None]


async def test_a_reader_keeps_what_it_still_needs(database: Database, places: list[int]) -> None:
    async def find_needed(_connection: AsyncConnection) -> int | None:
        return places[1]

    async def find_nothing(_connection: AsyncConnection) -> int | None:
        return None

    assert await forget(database, readers=(find_nothing, find_needed)) == 1
    assert await find_kept(database) == [*places[1:], None]


async def test_the_last_place_is_known_when_all_events_are_gone(database: Database, places: list[int]) -> None:
    async with database.writing() as connection:
        await connection.execute(text("UPDATE events SET occurred_at = now() - :age"), {"age": timedelta(days=31)})
        await connection.execute(text("DELETE FROM events WHERE type = 'key.killed' OR seq IS NULL"))
    assert await forget(database) == 4
    async with database.reading() as connection:
        assert await repository.get_ends(connection) == (places[-1], places[-1])


async def test_the_housekeeping_leaves_what_an_outlet_still_needs(
    database: Database, quiet_settings: AuthSettings, places: list[int]
) -> None:
    add = text("INSERT INTO outlets (name, seq) VALUES ('test', :seq)")
    async with database.writing() as connection:
        await connection.execute(add, {"seq": places[0]})
    assert (await tidy(database, quiet_settings))["events"] == 1
    async with database.writing() as connection:
        await connection.execute(text("DELETE FROM outlets"))
    assert (await tidy(database, quiet_settings))["events"] == 2
