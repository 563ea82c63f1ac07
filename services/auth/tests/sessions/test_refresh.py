"""Refresh tokens: rotation, reuse, and what ends them."""

import base64
import os
from datetime import timedelta

import httpx
import pytest
from auth_support import PASSWORD, Account, Accounts
from fastapi import FastAPI
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.secret_keys import SecretKeys
from kpi_auth.tokens.refresh_tokens import RefreshTokens, parse
from kpi_shared.caller import Role
from pydantic import SecretStr

SESSION_ENDED = "sessions_ended"


async def refresh(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/auth/refresh", json={"refresh_token": token})


async def works(client: httpx.AsyncClient, account: Account) -> bool:
    return (await client.get("/auth/me", headers=account.headers)).is_success


async def age(accounts: Accounts, user_id: int, interval: str) -> None:
    statement = """
        UPDATE sessions SET used_at = used_at - CAST(:by AS interval), created_at = created_at - CAST(:by AS interval)
        WHERE user_id = :id
    """
    await accounts.execute(statement, id=user_id, by=interval)


@pytest.mark.parametrize("form", ["data", "json"])
async def test_a_refresh_gives_the_next_pair(client: httpx.AsyncClient, accounts: Accounts, form: str) -> None:
    anna = await accounts.add("anna")
    body = {"grant_type": "refresh_token", "refresh_token": anna.refresh_token}
    response = await client.post("/auth/refresh", **{form: body})  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    pair = response.json()
    assert pair["refresh_token"] != anna.refresh_token
    assert (pair["token_type"], pair["expires_in"], pair["refresh_expires_in"]) == ("bearer", 900, 14 * 24 * 3600)
    subjects = [accounts.app.state.tokens.verify(token) for token in (anna.token, pair["access_token"])]
    assert subjects[0].session_id == subjects[1].session_id
    assert (await refresh(client, pair["refresh_token"])).status_code == 200


async def test_the_last_used_token_gets_the_same_successor_again(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    first, again = await refresh(client, anna.refresh_token), await refresh(client, anna.refresh_token)
    assert first.json()["refresh_token"] == again.json()["refresh_token"]
    assert (await refresh(client, again.json()["refresh_token"])).status_code == 200
    assert await works(client, anna)


@pytest.mark.parametrize("interval", ["11 seconds", "13 days"])
async def test_a_retry_is_accepted_however_late_while_its_successor_is_unused(
    client: httpx.AsyncClient, accounts: Accounts, interval: str
) -> None:
    anna = await accounts.add("anna")
    successor = (await refresh(client, anna.refresh_token)).json()["refresh_token"]
    await age(accounts, anna.id, interval)
    retried = await refresh(client, anna.refresh_token)
    assert (retried.status_code, retried.json()["refresh_token"]) == (200, successor)
    assert (await refresh(client, successor)).status_code == 200
    assert await works(client, anna)


async def test_reuse_ends_the_session_and_notifies_the_owner(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    elsewhere = await accounts.enter("anna")
    child = (await refresh(client, anna.refresh_token)).json()["refresh_token"]
    successor = (await refresh(client, child)).json()["refresh_token"]
    response = await refresh(client, anna.refresh_token)
    assert (response.status_code, response.json()["type"]) == (401, "invalid-refresh-token")
    assert (await refresh(client, successor)).status_code == 401
    assert not await works(client, anna)
    assert await works(client, elsewhere)
    assert (await accounts.events(anna.id))[-1] == "session.refresh_reused"
    assert [mail.template for mail in await accounts.mails("anna@example.com")][-1] == SESSION_ENDED


async def test_an_older_token_ends_the_session_immediately(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    child = (await refresh(client, anna.refresh_token)).json()["refresh_token"]
    grandchild = (await refresh(client, child)).json()["refresh_token"]
    assert (await refresh(client, anna.refresh_token)).status_code == 401
    assert (await refresh(client, grandchild)).status_code == 401


async def test_no_mail_goes_to_an_unverified_address(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna", verified=False)
    await accounts.execute("UPDATE users SET email_signs_in = false WHERE id = :id", id=anna.id)
    child = (await refresh(client, anna.refresh_token)).json()["refresh_token"]
    await refresh(client, child)
    assert (await refresh(client, anna.refresh_token)).status_code == 401
    assert (await accounts.events(anna.id))[-1] == "session.refresh_reused"
    assert SESSION_ENDED not in [mail.template for mail in await accounts.mails("anna@example.com")]


def _flip(token: str, position: int) -> str:
    data = bytearray(base64.urlsafe_b64decode(token))
    data[position] ^= 1
    return base64.urlsafe_b64encode(data).decode()


async def test_a_changed_token_is_refused_and_ends_nothing(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    await refresh(client, anna.refresh_token)
    await age(accounts, anna.id, "1 minute")
    # Within the id, the counter and the code.
    for position in (0, 7, 8, 15, 16, 47):
        assert (await refresh(client, _flip(anna.refresh_token, position))).status_code == 401
    assert await works(client, anna)


@pytest.mark.parametrize("token", ["x", "A" * 64, "_" * 64, "A" * 63 + "=", "é" * 64, "A" * 65, "v4.local.AAAA"])
async def test_a_malformed_refresh_token_is_refused(client: httpx.AsyncClient, token: str) -> None:
    response = await refresh(client, token)
    assert (response.status_code, response.json()["type"]) == (401, "invalid-refresh-token")


@pytest.mark.parametrize("body", [{}, {"refresh_token": ""}, {"refresh_token": None}, {"refresh_token": "x" * 5000}])
async def test_a_refresh_without_a_token_is_refused(client: httpx.AsyncClient, body: object) -> None:
    assert (await client.post("/auth/refresh", json=body)).status_code == 422


@pytest.mark.parametrize("interval", ["14 days", "90 days"])
async def test_an_unused_or_old_session_ends(client: httpx.AsyncClient, accounts: Accounts, interval: str) -> None:
    anna = await accounts.add("anna")
    await age(accounts, anna.id, interval)
    if interval == "90 days":
        await accounts.execute("UPDATE sessions SET used_at = now() WHERE user_id = :id", id=anna.id)
    assert (await refresh(client, anna.refresh_token)).status_code == 401
    reason = await accounts.scalar("SELECT end_reason FROM sessions WHERE user_id = :id", id=anna.id)
    assert reason == "expired"


async def test_no_token_outlives_its_session(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    await age(accounts, anna.id, "89 days 23 hours 50 minutes")
    await accounts.execute("UPDATE sessions SET used_at = now() WHERE user_id = :id", id=anna.id)
    pair = (await refresh(client, anna.refresh_token)).json()
    assert (pair["expires_in"], pair["refresh_expires_in"]) == (600, 600)


@pytest.mark.parametrize(
    "closing",
    ["UPDATE users SET is_active = false WHERE id = :id", "UPDATE users SET deleted_at = now() WHERE id = :id"],
)
async def test_a_closed_account_ends_its_session_at_the_refresh(
    client: httpx.AsyncClient, accounts: Accounts, closing: str
) -> None:
    anna = await accounts.add("anna")
    await accounts.execute(closing, id=anna.id)
    assert not await works(client, anna)
    assert (await refresh(client, anna.refresh_token)).status_code == 401
    reopening = "UPDATE users SET is_active = true, deleted_at = NULL WHERE id = :id"
    await accounts.execute(reopening, id=anna.id)
    assert (await refresh(client, anna.refresh_token)).status_code == 401


async def test_the_twenty_first_session_ends_the_oldest(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    later = [await accounts.enter("anna") for _ in range(20)]
    assert (await refresh(client, anna.refresh_token)).status_code == 401
    listed = (await client.get("/auth/sessions", headers=later[-1].headers)).json()
    assert len(listed["items"]) == 20
    assert await works(client, later[0])
    newest = "SELECT details ->> 'session_ids' FROM audit_events WHERE subject_id = :id ORDER BY id DESC LIMIT 1"
    assert await accounts.scalar(newest, id=anna.id) == f"[{accounts.app.state.tokens.verify(anna.token).session_id}]"


async def test_a_refreshed_token_has_the_current_role(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    await accounts.execute("UPDATE users SET role = 'user' WHERE id = :id", id=root.id)
    refused = await client.get(f"/users/{root.id}/sessions", headers=root.headers)
    assert refused.status_code == 403
    pair = (await refresh(client, root.refresh_token)).json()
    assert accounts.app.state.tokens.verify(pair["access_token"]).role == "user"


async def test_database_contents_alone_make_no_token(
    client: httpx.AsyncClient, accounts: Accounts, settings: AuthSettings, app: FastAPI
) -> None:
    """The table without the service's key is not enough to make a valid token."""
    anna = await accounts.add("anna")
    number = int(accounts.app.state.tokens.verify(anna.token).session_id)
    secret = await accounts.scalar("SELECT secret FROM sessions WHERE id = :id", id=number)
    assert isinstance(secret, bytes)
    values = {"session_id": number, "counter": 0, "secret": secret}
    assert RefreshTokens(SecretKeys(settings)).make(**values) == anna.refresh_token
    other = settings.model_copy(update={"auth_secret_key": SecretStr(os.urandom(32).hex())})
    forged = RefreshTokens(SecretKeys(other)).make(**values)
    assert (await refresh(client, forged)).status_code == 401


def test_a_token_of_a_previous_key_is_still_genuine(settings: AuthSettings) -> None:
    old, new = (SecretStr(os.urandom(32).hex()) for _ in range(2))

    def refresh_tokens(**keys: object) -> RefreshTokens:
        return RefreshTokens(SecretKeys(settings.model_copy(update={"auth_secret_key": None, **keys})))

    made = refresh_tokens(paseto_secret_key=old).make(session_id=7, counter=3, secret=bytes(32))
    # The two services' tokens have one key, and refresh tokens another that stays when the first is retired.
    for keys in (
        {"paseto_secret_key": new, "paseto_previous_keys": (old,)},
        {"paseto_secret_key": old, "auth_secret_key": new},
        {"paseto_secret_key": new, "auth_previous_secret_keys": (old,)},
    ):
        assert refresh_tokens(**keys).is_genuine(parse(made), secret=bytes(32))
    assert not refresh_tokens(paseto_secret_key=new).is_genuine(parse(made), secret=bytes(32))


def test_a_secret_key_that_is_replaced_and_not_kept_ends_all_sessions(settings: AuthSettings) -> None:
    old, new = (SecretStr(os.urandom(32).hex()) for _ in range(2))

    def refresh_tokens(**keys: object) -> RefreshTokens:
        return RefreshTokens(SecretKeys(settings.model_copy(update=keys)))

    made = parse(refresh_tokens(auth_secret_key=old).make(session_id=7, counter=3, secret=bytes(32)))
    kept = refresh_tokens(auth_secret_key=new, auth_previous_secret_keys=(old,))
    assert kept.is_genuine(made, secret=bytes(32))
    assert not refresh_tokens(auth_secret_key=new).is_genuine(made, secret=bytes(32))


async def test_sessions_are_listed_with_address_and_user_agent(client: httpx.AsyncClient, accounts: Accounts) -> None:
    await accounts.add("anna")
    headers = {"User-Agent": "Phone/1", "X-Forwarded-For": "198.51.100.7"}
    body = {"username": "anna", "password": PASSWORD}
    phone = (await client.post("/auth/login", json=body, headers=headers)).json()
    shown = await client.get("/auth/sessions", headers={"Authorization": f"Bearer {phone['access_token']}"})
    assert shown.json()["next"] is None
    newest, oldest = shown.json()["items"]
    assert (newest["is_current"], oldest["is_current"]) == (True, False)
    assert newest["user_agent"] == "Phone/1"
    assert newest["address"] == "198.51.100.7"
    assert set(newest) >= {"id", "created_at", "last_used_at", "expires_at"}


@pytest.mark.parametrize(
    ("scope", "alive"),
    [(None, [False, True]), ("local", [False, True]), ("others", [True, False]), ("global", [False, False])],
)
@pytest.mark.parametrize("by", ["params", "json"])
async def test_logout_ends_the_sessions_of_its_scope(
    client: httpx.AsyncClient, accounts: Accounts, scope: str | None, alive: list[bool], by: str
) -> None:
    here = await accounts.add("anna")
    there, ben = await accounts.enter("anna"), await accounts.add("ben")
    sent = {by: {"scope": scope}} if scope else {}
    response = await client.post("/auth/logout", headers=here.headers, **sent)  # type: ignore[arg-type]
    assert (response.status_code, response.content) == (204, b"")
    assert [await works(client, account) for account in (here, there)] == alive
    found = [(await refresh(client, account.refresh_token)).is_success for account in (here, there)]
    assert found == alive
    assert await works(client, ben)
    assert (await accounts.events(here.id))[-1] == "session.ended"


async def test_an_empty_body_keeps_the_scope_of_the_query(client: httpx.AsyncClient, accounts: Accounts) -> None:
    here = await accounts.add("anna")
    there = await accounts.enter("anna")
    await client.post("/auth/logout?scope=global", headers=here.headers, json={})
    assert [await works(client, account) for account in (here, there)] == [False, False]


async def test_users_end_only_their_own_sessions(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna, ben = await accounts.add("anna"), await accounts.add("ben")
    number = accounts.app.state.tokens.verify(ben.token).session_id
    assert (await client.delete(f"/auth/sessions/{number}", headers=anna.headers)).status_code == 404
    assert await works(client, ben)
    assert (await client.delete(f"/auth/sessions/{number}", headers=ben.headers)).status_code == 204
    assert not await works(client, ben)


async def test_an_admin_ends_one_or_all_sessions_of_a_user(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root, anna = await accounts.add_admin(), await accounts.add("anna")
    second, third = await accounts.enter("anna"), await accounts.enter("anna")
    address = f"/users/{anna.id}/sessions"
    listed = (await client.get(address, headers=root.headers)).json()["items"]
    assert len(listed) == 3
    assert (await client.delete(f"{address}/{listed[0]['id']}", headers=root.headers)).status_code == 204
    assert [await works(client, account) for account in (anna, second, third)] == [True, True, False]
    assert (await client.delete(address, headers=root.headers)).status_code == 204
    assert [await works(client, account) for account in (anna, second)] == [False, False]
    for method, path in (("GET", address), ("DELETE", address), ("DELETE", f"{address}/1")):
        refused = await client.request(method, path, headers=(await accounts.enter("anna")).headers)
        assert refused.status_code == 403
    assert (await client.get("/users/999999/sessions", headers=root.headers)).status_code == 404
    assert (await accounts.events(anna.id)).count("session.revoked") == 2


async def test_revocation_ends_the_session_of_either_token(client: httpx.AsyncClient, accounts: Accounts) -> None:
    first = await accounts.add("anna")
    second, third = await accounts.enter("anna"), await accounts.enter("anna")
    for token in (first.refresh_token, second.token):
        response = await client.post("/auth/revoke", data={"token": token, "token_type_hint": "access_token"})
        assert (response.status_code, response.content) == (200, b"")
    assert [await works(client, account) for account in (first, second, third)] == [False, False, True]


@pytest.mark.parametrize("token", ["x", "A" * 64, "v4.local.AAAA", "é"])
async def test_revoking_an_unknown_token_is_not_an_error(client: httpx.AsyncClient, token: str) -> None:
    assert (await client.post("/auth/revoke", data={"token": token})).status_code == 200


async def test_a_token_without_a_session_is_refused(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    for session in ("xUe0bLk9f3aQ", "", "0", "-1", "9" * 40, "१"):
        token = accounts.app.state.tokens.mint(
            user_id=anna.id, username="anna", role=Role.USER, session_id=session, lifetime=timedelta(minutes=1)
        )
        response = await client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == 401, session


async def test_too_many_failures_are_refused_and_end_no_session(
    client: httpx.AsyncClient, accounts: Accounts, settings: AuthSettings
) -> None:
    anna = await accounts.add("anna")
    most = settings.failures_per_account_and_address
    for name in ("anna", "nobody"):
        failed = [await client.post("/auth/login", json={"username": name, "password": "wrong"}) for _ in range(most)]
        assert {response.status_code for response in failed} == {401}
        refused = await client.post("/auth/login", json={"username": name.upper(), "password": PASSWORD})
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= settings.failure_window
    assert await works(client, anna)
    assert (await refresh(client, anna.refresh_token)).status_code == 200
    assert (await accounts.events(anna.id)).count("session.refused") == most
    assert (await accounts.events(None)).count("session.refused") == most


async def test_a_successful_sign_in_uses_up_no_attempt(
    client: httpx.AsyncClient, accounts: Accounts, settings: AuthSettings
) -> None:
    await accounts.add("anna")
    for _ in range(settings.failures_per_account_and_address + 5):
        assert await accounts.sign_in("anna", PASSWORD)
