"""First sign-ins of external identities on real, parallel connections."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from auth_support import empty
from fastapi import FastAPI
from identity_support import SHARED, exchange, shared_token, use_providers
from kpi_shared.testing.client import client_of
from sqlalchemy import text


@pytest.fixture
async def real_connections(running_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client on the pool of real connections; the database is emptied afterwards."""
    async with client_of(running_app) as client, use_providers(running_app, SHARED, failures_per_address=10_000):
        yield client
    await empty(running_app.state.database)


async def test_parallel_first_sign_ins_of_one_identity_create_one_account(
    real_connections: httpx.AsyncClient, running_app: FastAPI
) -> None:
    good = shared_token("racer", email="racer@example.com", email_verified=True)
    responses = await asyncio.gather(*[exchange(real_connections, good) for _ in range(30)])
    assert [response.status_code for response in responses] == [200] * 30
    assert len({response.json()["username"] for response in responses}) == 1
    async with running_app.state.database.reading() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM users")) == 1
        assert await connection.scalar(text("SELECT count(*) FROM outside_identities")) == 1


async def test_many_identities_of_one_verified_address_share_one_account(real_connections: httpx.AsyncClient) -> None:
    tokens = [shared_token(f"racer-{n}", email="racer@example.com", email_verified=True) for n in range(20)]
    responses = await asyncio.gather(*[exchange(real_connections, one) for one in tokens])
    assert [response.status_code for response in responses] == [200] * 20
    assert {response.json()["username"] for response in responses} == {"racer"}


async def test_many_identities_of_one_unverified_address_share_nothing(real_connections: httpx.AsyncClient) -> None:
    tokens = [shared_token(f"racer-{n}", email="racer@example.com") for n in range(20)]
    responses = await asyncio.gather(*[exchange(real_connections, one) for one in tokens])
    assert [response.status_code for response in responses] == [200] * 20
    assert len({response.json()["username"] for response in responses}) == 20
