"""Codes, passwords and addresses on real, parallel connections."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from auth_support import PASSWORD, Accounts, code_of, empty, registration
from fastapi import FastAPI
from kpi_shared.testing.client import client_of

TIMES = 20


@pytest.fixture
async def client(running_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client on the pool of real connections; its data is removed at the end."""
    async with client_of(running_app) as client:
        yield client
    await empty(running_app.state.database)


@pytest.fixture
def accounts(running_app: FastAPI, client: httpx.AsyncClient) -> Accounts:
    return Accounts(running_app, client)


async def reset_code(client: httpx.AsyncClient, accounts: Accounts) -> str:
    assert (await client.post("/auth/forgot-password", json={"username": "anna"})).status_code == 202
    return code_of((await accounts.mails("anna@example.com"))[-1])


def reset(client: httpx.AsyncClient, code: str, password: str) -> "asyncio.Task[httpx.Response]":
    body = {"code": code, "new_password": password}
    return asyncio.ensure_future(client.post("/auth/reset-password", json=body))


async def test_only_one_of_parallel_resets_with_one_code_succeeds(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    anna = await accounts.add("anna")
    code = await reset_code(client, accounts)
    passwords = [f"bicycle number {n}" for n in range(TIMES)]
    responses = await asyncio.gather(*[reset(client, code, password) for password in passwords])
    assert sorted(response.status_code for response in responses) == [204] + [400] * (TIMES - 1)
    winner = next(password for password, response in zip(passwords, responses, strict=True) if response.is_success)
    assert await accounts.sign_in("anna", winner)
    assert (await accounts.events(anna.id)).count("password.reset") == 1


async def test_only_one_of_parallel_verifications_with_one_code_succeeds(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    anna = await accounts.add("anna", verified=False)
    code = code_of((await accounts.mails("anna@example.com"))[-1])
    sent = [client.post("/auth/verify-email", json={"code": code}) for _ in range(TIMES)]
    assert sorted([response.status_code for response in await asyncio.gather(*sent)]) == [204] + [400] * (TIMES - 1)
    assert (await accounts.events(anna.id)).count("email.verified") == 1


async def test_only_one_of_accounts_that_claim_an_address_at_once_gets_it(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    await accounts.add("mover")
    for n in range(4):
        body = registration(f"claims{n}", email="one@example.com")
        assert (await client.post("/users", json=body)).status_code == 201
    mover = await accounts.enter("mover")
    change = {"password": PASSWORD, "new_email": "one@example.com"}
    assert (await client.post("/auth/change-email", json=change, headers=mover.headers)).status_code == 202
    codes = [code_of(mail) for mail in await accounts.mails("one@example.com")]
    responses = await asyncio.gather(*[client.post("/auth/verify-email", json={"code": code}) for code in codes])
    assert sorted(response.status_code for response in responses) == [204] + [400] * 4
    assert await accounts.scalar("SELECT count(*) FROM users WHERE email = 'one@example.com' AND email_signs_in") == 1


@pytest.mark.parametrize("round_", range(4))
async def test_only_one_of_a_reset_and_parallel_changes_succeeds(
    client: httpx.AsyncClient, accounts: Accounts, round_: int
) -> None:
    anna = await accounts.add("anna")
    code = await reset_code(client, accounts)
    passwords = [f"bicycle number {n}" for n in range(6)]
    bodies = [{"current_password": PASSWORD, "new_password": password} for password in passwords[1:]]
    changes = [client.post("/auth/change-password", json=body, headers=anna.headers) for body in bodies]
    # In each round the reset starts after a different number of changes.
    sent = [*changes[:round_], reset(client, code, passwords[0]), *changes[round_:]]
    responses = await asyncio.gather(*sent)
    statuses = [response.status_code for response in responses]
    # 400: the code is invalid; 401: the session has ended; 403: the password has changed; 409: it changed concurrently.
    assert statuses.count(204) == 1
    assert set(statuses) <= {204, 400, 401, 403, 409}
    assert len([password for password in [PASSWORD, *passwords] if await accounts.sign_in("anna", password)]) == 1
    assert await accounts.scalar("SELECT count(*) FROM one_time_codes") == 0
