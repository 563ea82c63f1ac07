"""Limits on attempts, on real, parallel connections."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from auth_support import empty
from fastapi import FastAPI
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.attempts.limits import sign_in_limits
from kpi_auth.attempts.service import Admission, Limit, admit
from kpi_auth.audit.origin import CONSOLE
from kpi_auth.settings import AuthSettings
from kpi_shared.addresses import client_address
from kpi_shared.database import Database
from sqlalchemy import text

WINDOW = timedelta(minutes=15)


def limit(most: int, *, of: str | None = None, window: timedelta = WINDOW) -> Limit:
    return Limit("test", of or secrets.token_hex(8), most, window)


async def tried(database: Database, *limits: Limit) -> Admission | None:
    try:
        return await admit(database, *limits, origin=CONSOLE)
    except TooManyAttemptsError:
        return None


@pytest.fixture
async def database(running_app: FastAPI) -> AsyncIterator[Database]:
    """The pool of real connections; every test has keys of its own."""
    yield running_app.state.database
    await empty(running_app.state.database)


async def age(database: Database, of: Limit, by: timedelta) -> None:
    statement = "UPDATE attempts SET times = ARRAY(SELECT t - :by FROM unnest(times) AS t) WHERE key = :key"
    async with database.writing() as connection:
        await connection.execute(text(statement), {"key": of.key, "by": by})


async def test_of_parallel_attempts_exactly_as_many_as_allowed_are_admitted(database: Database) -> None:
    one = limit(10)
    found = await asyncio.gather(*[tried(database, one) for _ in range(50)])
    assert sum(admission is not None for admission in found) == 10


async def test_a_forgiven_attempt_makes_room_for_one(database: Database) -> None:
    one = limit(3)
    admissions = [await admit(database, one, origin=CONSOLE) for _ in range(3)]
    assert await tried(database, one) is None
    await asyncio.gather(*[admissions[1].forgive(database) for _ in range(2)])
    assert await tried(database, one)
    assert await tried(database, one) is None


async def test_replicas_share_one_count(database: Database, settings: AuthSettings) -> None:
    one, other = limit(10), Database(settings)
    try:
        admitted_by = await asyncio.gather(*[tried(each, one) for _ in range(20) for each in (database, other)])
    finally:
        await other.close()
    assert sum(admission is not None for admission in admitted_by) == 10


async def test_a_limit_that_is_reached_is_recorded_once_a_window(database: Database) -> None:
    one = limit(1)
    for _ in range(5):
        await tried(database, one)
    async with database.reading() as connection:
        found = await connection.scalar(text("SELECT json_agg(details) FROM audit_events"))
    assert found == [{"limit": "test"}]


async def test_what_has_no_limit_is_admitted_and_forgiven(database: Database) -> None:
    await (await admit(database, origin=CONSOLE)).forgive(database)


async def test_the_window_slides(database: Database) -> None:
    one = limit(2)
    await admit(database, one, origin=CONSOLE)
    await age(database, one, WINDOW / 2)
    await admit(database, one, origin=CONSOLE)
    with pytest.raises(TooManyAttemptsError) as refused:
        await admit(database, one, origin=CONSOLE)
    assert 440 <= int(refused.value.headers["Retry-After"]) <= 450
    await age(database, one, WINDOW / 2)
    assert await tried(database, one)
    assert await tried(database, one) is None


async def test_a_shut_out_address_uses_up_no_attempt_of_an_account(database: Database) -> None:
    address, account = limit(2), limit(3)
    for _ in range(10):
        await tried(database, address, account)
    assert await tried(database, account)
    assert await tried(database, account) is None


def test_limits_name_no_account_and_take_an_ipv6_network_for_one_client(settings: AuthSettings) -> None:
    def limits(address: str) -> list[Limit]:
        origin = CONSOLE._replace(address=client_address(address, [], []))
        return sign_in_limits(settings, origin, login="anna")

    assert limits("2001:db8::1")[0].key == limits("2001:db8::2:1")[0].key != limits("2001:db8:0:1::1")[0].key
    assert limits("192.0.2.1")[0].key == limits("::ffff:192.0.2.1")[0].key != limits("192.0.2.2")[0].key
    assert [one.key for one in sign_in_limits(settings, CONSOLE, login="anna")] == [limits("192.0.2.1")[2].key]
