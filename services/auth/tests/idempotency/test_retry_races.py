"""Equal requests at once, over two applications on one database, on real connections."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from auth_support import Accounts, assert_problem, registration
from kpi_auth.app import create_app
from kpi_auth.settings import AuthSettings
from kpi_shared.testing.client import client_of, running

AT_ONCE = 20


@pytest.fixture
async def clients(shared_client: httpx.AsyncClient, settings: AuthSettings) -> AsyncIterator[list[httpx.AsyncClient]]:
    # Its internal port is for others.
    alone = settings.model_copy(update={"internal_key": None, "feed_key": None})
    async with running(create_app(alone)) as app, client_of(app) as client:
        yield [shared_client, client]


async def send_at_once(
    clients: list[httpx.AsyncClient], path: str, body: dict[str, str], headers: dict[str, str]
) -> None:
    """One of the responses is new; the others repeat it, or say that it is in flight."""
    headers = headers | {"Idempotency-Key": "k"}
    targets = clients * (AT_ONCE // 2)
    responses = await asyncio.gather(*(client.post(path, json=body, headers=headers) for client in targets))
    created = [each for each in responses if each.status_code == 201]
    [fresh] = [each for each in created if "Idempotency-Replayed" not in each.headers]
    assert {each.content for each in created} == {fresh.content}
    for response in responses:
        if response.status_code != 201:
            assert_problem(response, 409, "request-in-flight")
    for client in clients:
        again = await client.post(path, json=body, headers=headers)
        assert (again.status_code, again.content) == (201, fresh.content)


async def test_of_equal_registrations_at_once_one_has_an_effect(
    clients: list[httpx.AsyncClient], shared_accounts: Accounts
) -> None:
    """All of them may hash the password before the first one has been committed."""
    await send_at_once(clients, "/users", registration("anna"), {})
    assert await shared_accounts.scalar("SELECT count(*) FROM users") == 1
    assert await shared_accounts.scalar("SELECT count(*) FROM mails") == 1


async def test_of_equal_requests_for_an_api_key_at_once_one_has_an_effect(
    clients: list[httpx.AsyncClient], shared_accounts: Accounts
) -> None:
    anna = await shared_accounts.add("anna")
    await send_at_once(clients, "/api-keys", {"name": "a", "scopes": "read"}, anna.headers)
    assert await shared_accounts.scalar("SELECT count(*) FROM api_keys") == 1
