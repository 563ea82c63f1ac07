"""Changing a password."""

import httpx
import pytest
from auth_support import PASSWORD, Accounts, SentMail, assert_problem, configured
from fastapi import FastAPI
from password_support import NEW, change, forgotten, reset, works


async def test_a_changed_password_ends_the_other_sessions_and_all_codes(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    anna = await accounts.add("anna")
    elsewhere = await accounts.enter("anna")
    code = await forgotten(client, accounts)
    await client.post("/auth/change-email", json={"password": PASSWORD, "new_email": NEW}, headers=anna.headers)
    response = await change(client, anna.headers)
    assert (response.status_code, response.headers["cache-control"]) == (204, "no-store")
    assert await works(client, anna.headers)
    assert not await works(client, elsewhere.headers)
    assert (await accounts.mails("anna@example.com"))[-1] == SentMail("password_changed", {"username": "anna"})
    assert "password.changed" in await accounts.events(anna.id)
    assert await accounts.scalar("SELECT count(*) FROM one_time_codes") == 0
    assert (await reset(client, code)).status_code == 400
    assert await accounts.sign_in("anna", NEW)
    assert not await accounts.sign_in("anna", PASSWORD)


async def test_a_wrong_current_password_is_refused_recorded_and_limited(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    anna = await accounts.add("anna")
    with configured(app, failures_per_account_and_address=2):
        responses = [await change(client, anna.headers, current_password="wrong") for _ in range(3)]
        assert [response.status_code for response in responses] == [403, 403, 429]
        assert responses[0].json()["type"] == "wrong-password"
        assert (await change(client, anna.headers)).status_code == 429
    assert (await accounts.events(anna.id))[-2:] == ["password.change_refused"] * 2
    # Guessing is blocked, the session is not.
    assert await works(client, anna.headers)
    assert (await change(client, anna.headers)).status_code == 204


@pytest.mark.parametrize(
    ("path", "body", "missing"),
    [
        ("change-password", {"new_password": NEW}, "current_password"),
        ("change-password", {"current_password": PASSWORD}, "new_password"),
        ("change-email", {"new_email": "new@example.com"}, "password"),
    ],
)
async def test_the_current_password_is_required(
    client: httpx.AsyncClient, accounts: Accounts, path: str, body: dict[str, str], missing: str
) -> None:
    anna = await accounts.add("anna")
    response = await client.post(f"/auth/{path}", json=body, headers=anna.headers)
    assert_problem(response, 422, "invalid-request", f"#/body/{missing}")


async def test_a_right_password_uses_up_no_attempt(client: httpx.AsyncClient, accounts: Accounts, app: FastAPI) -> None:
    anna = await accounts.add("anna")
    with configured(app, failures_per_account_and_address=1):
        assert (await change(client, anna.headers, new_password="anna")).status_code == 422
        assert (await change(client, anna.headers, new_password="iloveyou")).status_code == 422
        assert (await change(client, anna.headers)).status_code == 204


@pytest.mark.parametrize(
    "password",
    [PASSWORD, "iloveyou", "anna@example.com", "kpi-one-2026", "short", "p" * 257, "nul\0 inside it"],
)
async def test_an_unacceptable_new_password_is_refused(
    client: httpx.AsyncClient, accounts: Accounts, password: str
) -> None:
    anna = await accounts.add("anna")
    response = await change(client, anna.headers, new_password=password)
    assert response.status_code == 422
    assert [error["pointer"] for error in response.json()["errors"]] == ["#/body/new_password"]
    assert await accounts.sign_in("anna", PASSWORD)
