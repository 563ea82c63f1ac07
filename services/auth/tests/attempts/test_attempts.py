"""Limits on attempts, on real, parallel connections."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from auth_support import empty
from fastapi import FastAPI
from kpi_auth.attempts.errors import TooManyAttemptsError
from kpi_auth.attempts.limits import sign_in_limits
from kpi_auth.attempts.models import Admission, Limit
from kpi_auth.attempts.service import admit, forgive
from kpi_auth.context import Context, context_of
from kpi_auth.origin import CONSOLE
from kpi_auth.settings import AuthSettings
from kpi_shared.addresses import client_address
from kpi_shared.database import Database
from sqlalchemy import text

WINDOW = timedelta(minutes=15)


def limit(most: int, *, of: str | None = None, window: timedelta = WINDOW) -> Limit:
    return Limit("test", of or secrets.token_hex(8), most, window)


async def try_once(context: Context, *limits: Limit) -> Admission | None:
    try:
        return await admit(context, *limits)
    except TooManyAttemptsError:
        return None


@pytest.fixture
async def context(running_app: FastAPI) -> AsyncIterator[Context]:
    """With the pool of real connections; every test uses its own keys."""
    yield context_of(running_app.state, CONSOLE)
    await empty(running_app.state.database)


async def age(database: Database, of: Limit, by: timedelta) -> None:
    statement = "UPDATE attempts SET times = ARRAY(SELECT t - :by FROM unnest(times) AS t) WHERE key = :key"
    async with database.writing() as connection:
        await connection.execute(text(statement), {"key": of.key, "by": by})


async def test_parallel_attempts_are_admitted_up_to_the_limit(context: Context) -> None:
    one = limit(10)
    found = await asyncio.gather(*[try_once(context, one) for _ in range(50)])
    assert sum(admission is not None for admission in found) == 10


async def test_a_forgiven_attempt_allows_another(context: Context) -> None:
    one = limit(3)
    admissions = [await admit(context, one) for _ in range(3)]
    assert await try_once(context, one) is None
    await asyncio.gather(*[forgive(context, admissions[1]) for _ in range(2)])
    assert await try_once(context, one)
    assert await try_once(context, one) is None


async def test_replicas_share_one_count(context: Context, settings: AuthSettings) -> None:
    one, other = limit(10), Database(settings)
    try:
        replicas = (context, replace(context, database=other))
        admitted_by = await asyncio.gather(*[try_once(each, one) for _ in range(20) for each in replicas])
    finally:
        await other.close()
    assert sum(admission is not None for admission in admitted_by) == 10


async def test_a_limit_that_is_reached_is_recorded_once_a_window(context: Context) -> None:
    one = limit(1)
    for _ in range(5):
        await try_once(context, one)
    async with context.database.reading() as connection:
        found = await connection.scalar(text("SELECT json_agg(details) FROM audit_events"))
    assert found == [{"limit": "test"}]


async def test_without_a_limit_attempts_are_admitted_and_forgiven(context: Context) -> None:
    await forgive(context, await admit(context))


async def test_the_window_slides(context: Context) -> None:
    one = limit(2)
    await admit(context, one)
    await age(context.database, one, WINDOW / 2)
    await admit(context, one)
    with pytest.raises(TooManyAttemptsError) as refused:
        await admit(context, one)
    assert 440 <= int(refused.value.headers["Retry-After"]) <= 450
    await age(context.database, one, WINDOW / 2)
    assert await try_once(context, one)
    assert await try_once(context, one) is None


async def test_a_blocked_address_uses_up_no_attempt_of_an_account(context: Context) -> None:
    address, account = limit(2), limit(3)
    for _ in range(10):
        await try_once(context, address, account)
    assert await try_once(context, account)
    assert await try_once(context, account) is None


async def test_limits_treat_an_ipv6_network_as_one_client(context: Context) -> None:
    def limits(address: str) -> list[Limit]:
        origin = CONSOLE._replace(address=client_address(address, [], []))
        return sign_in_limits(replace(context, origin=origin), login="anna")

    assert limits("2001:db8::1")[0].key == limits("2001:db8::2:1")[0].key != limits("2001:db8:0:1::1")[0].key
    assert limits("192.0.2.1")[0].key == limits("::ffff:192.0.2.1")[0].key != limits("192.0.2.2")[0].key
    assert [one.key for one in sign_in_limits(context, login="anna")] == [limits("192.0.2.1")[2].key]
