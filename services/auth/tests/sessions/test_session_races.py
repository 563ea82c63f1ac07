"""Sessions on real, parallel connections."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher as Argon2
from auth_support import PASSWORD, Account, Accounts, code_of, empty
from fastapi import FastAPI
from kpi_auth.accounts import write_repository
from kpi_auth.attempts.limits import sign_in_limits
from kpi_auth.sessions import service, sign_in_repository
from kpi_auth.tokens.errors import InvalidRefreshTokenError
from kpi_shared.testing.client import client_of

# The number of repetitions of each race; docs/performance.md has the figure for a thousand.
NEW_PASSWORD = "a loud green tricycle"
RUNS = int(os.environ.get("KPI_RACES", "20"))


@pytest.fixture
async def accounts(running_app: FastAPI) -> AsyncIterator[Accounts]:
    """Accounts on the pool of real connections; the database is emptied afterwards."""
    async with client_of(running_app) as client:
        yield Accounts(running_app, client)
        await empty(running_app.state.database)


@pytest.fixture
def client(accounts: Accounts) -> httpx.AsyncClient:
    return accounts._client


async def refresh_once(accounts: Accounts, token: str) -> str | None:
    """Refresh as the endpoint does; the successor, or None."""
    try:
        return str((await service.refresh(accounts.context, token=token)).refresh_token)
    except InvalidRefreshTokenError:
        return None


async def test_fifty_parallel_refreshes_leave_one_living_successor(accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    token = anna.refresh_token
    for _ in range(RUNS):
        found = await asyncio.gather(*[refresh_once(accounts, token) for _ in range(50)])
        successors = {successor for successor in found if successor}
        assert len(successors) == 1
        assert None not in found
        token = successors.pop()
    assert await accounts.scalar("SELECT counter FROM sessions WHERE user_id = :id", id=anna.id) == RUNS
    assert await refresh_once(accounts, token)


async def test_fifty_parallel_refreshes_over_http(accounts: Accounts, client: httpx.AsyncClient) -> None:
    anna = await accounts.add("anna")
    body = {"refresh_token": anna.refresh_token}
    responses = await asyncio.gather(*[client.post("/auth/refresh", json=body) for _ in range(50)])
    assert {response.status_code for response in responses} == {200}
    assert len({response.json()["refresh_token"] for response in responses}) == 1


async def test_without_the_grace_a_repetition_ends_the_session(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = accounts.app.state
    monkeypatch.setitem(state._state, "lifetimes", replace(state.lifetimes, grace=timedelta(0)))
    anna = await accounts.add("anna")
    successor = await refresh_once(accounts, anna.refresh_token)
    assert successor
    assert await refresh_once(accounts, anna.refresh_token) is None
    assert await refresh_once(accounts, successor) is None


async def _request_that_ends(accounts: Accounts, client: httpx.AsyncClient, anna: Account, how: str) -> dict[str, Any]:
    username = accounts.app.state.tokens.verify(anna.token).username
    path = f"/users/{anna.id}"
    headers: dict[str, str] = {}
    if how == "reset":
        await client.post("/auth/forgot-password", json={"username": username})
        code = code_of((await accounts.mails(f"{username}@example.com"))[-1])
        change: tuple[str, str, Any] = ("POST", "/auth/reset-password", {"code": code, "new_password": NEW_PASSWORD})
    elif how in {"admin", "deactivation"}:
        headers = (await accounts.add_admin(f"root{anna.id}")).headers
        all_sessions = ("DELETE", f"{path}/sessions", None)
        change = all_sessions if how == "admin" else ("PATCH", path, {"is_active": False})
    else:
        headers = (await accounts.enter(username)).headers
        change = {
            "logout": ("POST", "/auth/logout?scope=global", None),
            "password": (
                "POST",
                "/auth/change-password",
                {"current_password": PASSWORD, "new_password": NEW_PASSWORD},
            ),
            "deletion": ("DELETE", path, {"password": PASSWORD}),
        }[how]
    return dict(zip(("method", "url", "json"), change, strict=True)) | {"headers": headers}


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        *(("logout", "logout"), ("admin", "admin"), ("password", "password")),
        *(("reset", "password"), ("deletion", "closed"), ("deactivation", "closed")),
    ],
)
async def test_no_refresh_after_the_end_gets_tokens(
    accounts: Accounts, client: httpx.AsyncClient, how: str, reason: str
) -> None:
    for run in range(max(1, RUNS // 10)):
        anna = await accounts.add(f"anna{run}")
        # Each client has a session of its own: in a shared one, their reuse would end it.
        sessions = [await accounts.enter(f"anna{run}") for _ in range(4)]
        request = await _request_that_ends(accounts, client, anna, how)
        ended = asyncio.Event()

        async def keep_on(token: str, ended: asyncio.Event = ended) -> str:
            while True:
                began_after = ended.is_set()
                successor = await refresh_once(accounts, token)
                if began_after:
                    assert successor is None
                    return token
                token = successor or token

        refreshing = [asyncio.create_task(keep_on(session.refresh_token)) for session in sessions]
        response = await client.request(**request)
        ended.set()
        newest = await asyncio.gather(*refreshing)
        assert response.is_success, response.text
        assert [await refresh_once(accounts, token) for token in newest] == [None] * 4
        reasons = "SELECT array_agg(DISTINCT end_reason) FROM sessions WHERE user_id = :id AND ended_at IS NOT NULL"
        assert await accounts.scalar(reasons, id=anna.id) == [reason]


async def test_a_password_that_changes_during_verification_opens_no_session(accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    context = accounts.context
    async with context.database.reading() as connection:
        limits = sign_in_limits(context, login="anna")
        found = (await sign_in_repository.look_up(connection, limits=limits, familiar=[], login="anna")).account
    assert found is not None
    await accounts.execute("UPDATE users SET password_hash = 'another' WHERE id = :id", id=anna.id)
    async with context.database.committing() as connection:
        assert await service.start(context, connection, account=found, by="test") is None
    assert await accounts.scalar("SELECT count(*) FROM sessions WHERE user_id = :id", id=anna.id) == 1


async def test_a_sign_in_waits_for_a_change_of_the_password_and_then_fails(accounts: Accounts) -> None:
    """The change holds the user's row; a sign-in with the old password gets no session."""
    anna = await accounts.add("anna")
    async with accounts.app.state.database.writing() as connection:
        await write_repository.lock_open(connection, user_id=anna.id)
        signing_in = asyncio.create_task(accounts.sign_in("anna", PASSWORD))
        await some_connection_waits(accounts)
        await connection.exec_driver_sql("UPDATE users SET password_hash = 'another'")
    assert await signing_in is None


async def some_connection_waits(accounts: Accounts) -> None:
    """Return once some connection waits for a row."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with asyncio.timeout(20):
        while not await accounts.scalar(waiting):  # noqa: ASYNC110 only the database knows
            await asyncio.sleep(0.01)


async def test_parallel_sign_ins_of_an_old_hash_all_succeed(accounts: Accounts) -> None:
    """One of them replaces the hash that the others have verified."""
    anna = await accounts.add("anna")
    old = Argon2(time_cost=2, memory_cost=128, parallelism=1).hash(PASSWORD)
    await accounts.execute("UPDATE users SET password_hash = :hash WHERE id = :id", hash=old, id=anna.id)
    assert all(await asyncio.gather(*[accounts.sign_in("anna", PASSWORD) for _ in range(15)]))


async def test_parallel_sign_ins_keep_the_limit_of_sessions(accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    for _ in range(3):
        assert all(await asyncio.gather(*[accounts.sign_in("anna", PASSWORD) for _ in range(10)]))
    living = "SELECT count(*) FROM sessions WHERE user_id = :id AND ended_at IS NULL"
    assert await accounts.scalar(living, id=anna.id) == 20


async def test_parallel_failures_do_not_exceed_the_limit(accounts: Accounts, client: httpx.AsyncClient) -> None:
    await accounts.add("anna")
    body = {"username": "anna", "password": "wrong"}
    most = accounts.app.state.settings.failures_per_account_and_address
    responses = await asyncio.gather(*[client.post("/auth/login", json=body) for _ in range(most + 10)])
    statuses = sorted(response.status_code for response in responses)
    assert statuses.count(401) <= most
    assert set(statuses) <= {401, 429, 503}
