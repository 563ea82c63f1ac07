"""Signing in, and the tokens that it gives."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from argon2 import PasswordHasher as Argon2
from auth_support import PASSWORD, Accounts, configured
from fastapi import FastAPI
from kpi_auth.settings import AuthSettings
from kpi_shared.caller import Role
from kpi_shared.tokens import HEADER, KeyRing, TokenCodec


@pytest.mark.parametrize("login", ["anna", "ANNA", "anna@example.com", "Anna@Example.com"])
@pytest.mark.parametrize("form", ["data", "json"])
async def test_sign_in_by_username_or_email_in_form_or_json(
    client: httpx.AsyncClient, accounts: Accounts, login: str, form: str
) -> None:
    await accounts.add("anna")
    response = await client.post("/auth/login", **{form: {"username": login, "password": PASSWORD}})  # type: ignore[arg-type]
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    assert {**response.json(), "access_token": "", "refresh_token": ""} == {
        "access_token": "",
        "token_type": "bearer",
        "expires_in": 900,
        "refresh_token": "",
        "refresh_expires_in": 14 * 24 * 3600,
        "username": "anna",
    }


async def test_json_takes_an_email_field(client: httpx.AsyncClient, accounts: Accounts) -> None:
    await accounts.add("anna")
    response = await client.post("/auth/login", json={"email": "anna@example.com", "password": PASSWORD})
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("username", "email"),
    [
        ("\uff41\uff4e\uff4e\uff41", "anna@example.com"),
        ("jose", "Jose\u0301@B\u00fccher.de"),
        ("ab_c", "X@xn--bcher-kva.de"),
    ],
)
async def test_registered_names_sign_in(
    client: httpx.AsyncClient, accounts: Accounts, username: str, email: str
) -> None:
    made = await client.post("/users", json={"username": username, "email": email, "password": PASSWORD})
    assert made.status_code == 201, made.text
    await accounts.execute("UPDATE users SET email_signs_in = true WHERE id = :id", id=made.json()["id"])
    for login in (username, email, made.json()["username"], made.json()["email"]):
        response = await client.post("/auth/login", json={"username": login, "password": PASSWORD})
        assert response.status_code == 200, login


async def test_the_oauth2_form_as_a_library_sends_it(client: httpx.AsyncClient, accounts: Accounts) -> None:
    await accounts.add("anna")
    form = {"grant_type": "password", "username": "anna", "password": PASSWORD, "scope": "", "client_id": "docs"}
    assert (await client.post("/auth/login", data=form)).status_code == 200


async def test_the_token_opens_me(client: httpx.AsyncClient, accounts: Accounts, settings: AuthSettings) -> None:
    anna = await accounts.add("anna")
    me = await client.get("/auth/me", headers=anna.headers)
    assert (me.json()["id"], me.json()["email"]) == (anna.id, "anna@example.com")
    subject = TokenCodec.of(settings).verify(anna.token)
    assert (subject.id, subject.username, subject.role) == (anna.id, "anna", Role.USER)


async def test_failures_look_alike(client: httpx.AsyncClient, accounts: Accounts) -> None:
    for name in ("anna", "closed", "gone", "imported"):
        await accounts.add(name)
    await accounts.execute("UPDATE users SET is_active = false WHERE username = 'closed'")
    await accounts.execute("UPDATE users SET deleted_at = now() WHERE username = 'gone'")
    await accounts.execute("UPDATE users SET password_hash = NULL WHERE username = 'imported'")
    tries = [("anna", "wrong password"), ("nobody", PASSWORD), *[(n, PASSWORD) for n in ("closed", "gone", "imported")]]
    responses = [await client.post("/auth/login", json={"username": n, "password": p}) for n, p in tries]
    assert {response.status_code for response in responses} == {401}
    bodies = [{**response.json(), "instance": ""} for response in responses]
    assert all(body == bodies[0] for body in bodies)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "anna"},
        {"password": PASSWORD},
        {"username": "anna", "email": "anna@example.com", "password": PASSWORD},
        {"username": "", "password": PASSWORD},
        {"username": "nul\0", "password": PASSWORD},
        {"username": "anna", "password": "p" * 257},
        {"username": ["anna"], "password": PASSWORD},
        {"username": "anna", "password": PASSWORD, "grant_type": "client_credentials"},
        [],
        "anna",
    ],
)
async def test_malformed_credentials_are_refused(client: httpx.AsyncClient, body: object) -> None:
    response = await client.post("/auth/login", json=body)
    assert response.status_code == 422
    assert response.json()["errors"]


@pytest.mark.parametrize("body", [b"{", b'{"username": "\xff"}', b"", b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}"])
async def test_invalid_json_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/auth/login", content=body, headers={"content-type": "application/json"})
    assert response.status_code in {400, 422}
    assert response.headers["content-type"] == "application/problem+json"


async def test_another_media_type_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/auth/login", content=b"<login/>", headers={"content-type": "text/xml"})
    assert response.status_code == 415


async def test_a_hash_of_other_parameters_is_replaced_at_sign_in(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    old = Argon2(time_cost=2, memory_cost=128, parallelism=2).hash(PASSWORD)
    await accounts.execute("UPDATE users SET password_hash = :hash WHERE id = :id", hash=old, id=anna.id)
    assert not await accounts.sign_in("anna", "wrong password")
    assert await accounts.scalar("SELECT password_hash FROM users WHERE id = :id", id=anna.id) == old
    assert await accounts.sign_in("anna", PASSWORD)
    new = await accounts.scalar("SELECT password_hash FROM users WHERE id = :id", id=anna.id)
    assert "m=64,t=1,p=1" in str(new)
    assert await accounts.sign_in("anna", PASSWORD)


async def test_a_token_of_a_previous_key_is_valid_until_it_is_retired(
    client: httpx.AsyncClient, accounts: Accounts, settings: AuthSettings
) -> None:
    anna = await accounts.add("anna")
    retired, previous, current = (bytes([n]) * 16 + bytes(range(16)) for n in (1, 2, 3))
    names = {"issuer": settings.token_issuer, "audience": settings.token_audience}
    accounts.use_tokens(TokenCodec(KeyRing.local(current, [previous]), **names))
    session = TokenCodec.of(settings).verify(anna.token).session_id
    for key, status in ((current, 200), (previous, 200), (retired, 401)):
        codec = TokenCodec(KeyRing.local(key), **names)
        token = codec.mint(
            user_id=anna.id, username="anna", role=Role.USER, session_id=session, lifetime=timedelta(minutes=1)
        )
        response = await client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == status


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer v4.local.x", "v4.local.x", "Bearer é"]
)
async def test_a_malformed_authorization_header_gets_a_challenge(client: httpx.AsyncClient, header: str) -> None:
    response = await client.get("/auth/me", headers={"Authorization": header.encode()})  # type: ignore[dict-item]
    assert response.status_code == 401
    assert 'error="invalid_token"' in response.headers["www-authenticate"]


async def test_two_authorization_headers_are_refused(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    twice = [("Authorization", f"Bearer {anna.token}")] * 2
    assert (await client.get("/auth/me", headers=twice)).status_code == 401


async def test_other_tokens_of_the_same_key_are_not_access_tokens(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    """A queued mail is encrypted with the same key as an access token."""
    anna = await accounts.add("anna")
    sealed = str(await accounts.scalar("SELECT content FROM mails WHERE recipient = 'anna@example.com'"))
    assert sealed.startswith(HEADER)
    for token, status in ((anna.refresh_token, 401), (sealed, 401), (anna.token, 200)):
        response = await client.get("/auth/me", headers={"Authorization": f"Bearer {token}"})
        assert response.status_code == status
    for token in (anna.token, sealed):
        assert (await client.post("/auth/refresh", json={"refresh_token": token})).status_code == 401


async def test_a_limit_on_the_username_does_not_block_the_email_address(accounts: Accounts, app: FastAPI) -> None:
    await accounts.add("anna")
    with configured(app, failures_per_account=2):
        for _ in range(2):
            assert not await accounts.sign_in("anna", "wrong password")
        assert not await accounts.sign_in("anna", PASSWORD)
        assert await accounts.sign_in("anna@example.com", PASSWORD)


async def test_guessing_from_one_address_blocks_that_address_only(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    await accounts.add("anna")
    body = {"username": "anna", "password": "guessed"}
    with configured(app, failures_per_account_and_address=2):
        try_once = [
            (await client.post("/auth/login", json=body, headers={"X-Forwarded-For": "203.0.113.9"})).status_code
            for _ in range(4)
        ]
        assert try_once == [401, 401, 429, 429]
        assert await accounts.sign_in("anna", PASSWORD)


def _at(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


async def _statuses(client: httpx.AsyncClient, login: str, password: str, *addresses: str) -> list[int]:
    body = {"username": login, "password": password}
    return [(await client.post("/auth/login", json=body, headers=_at(address))).status_code for address in addresses]


@pytest.mark.parametrize("login", ["anna", "nobody"])
async def test_guesses_from_many_addresses_do_not_block_a_familiar_address(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI, login: str
) -> None:
    """An address is familiar where the account has signed in; elsewhere nothing tells whether the account exists."""
    await accounts.add("anna")
    assert await _statuses(client, "anna", PASSWORD, "2001:db8::1") == [200]
    with configured(app, failures_per_account=4, failures_per_account_and_address=2):
        crowd = [f"203.0.113.{number}" for number in range(6)]
        assert await _statuses(client, login, "guessed", *crowd) == [401] * 4 + [429] * 2
        assert await _statuses(client, login, PASSWORD, "203.0.113.9") == [429]
        # The same /64, in which a privacy address changes daily.
        assert await _statuses(client, login, PASSWORD, "2001:db8::2") == [200 if login == "anna" else 429]


async def test_guesses_at_a_familiar_address_are_limited(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    await accounts.add("anna")
    with configured(app, failures_per_account=3, failures_per_account_and_address=2):
        await _statuses(client, "anna", "guessed", *[f"203.0.113.{number}" for number in range(3)])
        assert await _statuses(client, "anna", "guessed", *["127.0.0.1"] * 4) == [401, 401, 429, 429]


async def test_an_address_stays_familiar_for_as_long_as_a_session_may_be_idle(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    await accounts.add("anna")
    with configured(app, failures_per_account=1):
        await _statuses(client, "anna", "guessed", "203.0.113.1")
        assert await accounts.sign_in("anna", PASSWORD)
        await accounts.execute("UPDATE attempts SET forget_at = forget_at - interval '14 days' WHERE times[1] < now()")
        await accounts.execute("UPDATE attempts SET forget_at = now() WHERE forget_at > now() + interval '1 day'")
        assert not await accounts.sign_in("anna", PASSWORD)


async def test_parallel_sign_ins_all_succeed(client: httpx.AsyncClient, accounts: Accounts) -> None:
    await accounts.add("anna")
    assert all(await asyncio.gather(*[accounts.sign_in("anna", PASSWORD) for _ in range(20)]))
