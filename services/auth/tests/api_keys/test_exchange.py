"""The exchange of a key for a token, and what the token may do."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import httpx
import pytest
from auth_support import Accounts, assert_problem, configured
from fastapi import FastAPI
from key_support import Keys
from kpi_auth.settings.secret_keys import SecretKeys
from kpi_auth.tokens import api_key_texts
from kpi_auth.tokens.api_key_texts import KeyHasher
from kpi_shared.caller import Role, Scope
from kpi_shared.settings import Environment
from psycopg import AsyncCursor
from pydantic import SecretStr


@contextmanager
def counted_statements() -> Iterator[list[str]]:
    """Those of the driver: not all go through SQLAlchemy."""
    found: list[str] = []
    execute = AsyncCursor.execute

    async def note(self: AsyncCursor[Any], query: Any, *values: Any, **options: Any) -> AsyncCursor[Any]:
        # The service's loops execute statements too.
        if "api_keys" in str(query):
            found.append(str(query))
        return await execute(self, query, *values, **options)

    with patch.object(AsyncCursor, "execute", note):
        yield found


async def test_a_key_is_exchanged_for_a_short_token_of_its_owner(accounts: Accounts, keys: Keys, app: FastAPI) -> None:
    anna = await accounts.add("anna")
    key = await keys.add(anna, ["read"], allowed_networks=["192.0.2.0/24"], rate_limit={"requests": 5, "window": 10})
    response = await keys.exchange(key.text)
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    found = response.json()
    token = found.pop("access_token")
    assert found == {
        "expires_in": 60,
        "key_id": key.id,
        "user_id": anna.id,
        "scopes": ["read"],
        "allowed_networks": ["192.0.2.0/24"],
        "rate_limit": {"requests": 5, "window": 10},
        "key_expires_at": None,
    }
    subject = app.state.tokens.verify(token)
    assert (subject.id, subject.username, subject.role) == (anna.id, "anna", Role.USER)
    assert (subject.scopes, subject.api_key_id) == (frozenset({Scope.READ}), key.id)
    assert subject.expires_at <= datetime.now(UTC) + timedelta(seconds=60)


async def test_a_text_has_the_documented_form(accounts: Accounts, keys: Keys) -> None:
    anna = await accounts.add("anna")
    key = await keys.add(anna)
    # The settings of these tests are those of production.
    assert re.fullmatch(api_key_texts.PATTERN, key.text)
    assert key.text.startswith(f"kpi_live_{key.id}_")
    assert len(key.text) <= api_key_texts.MAX_LENGTH
    assert key.text.startswith(key.shown["prefix"])
    assert len(key.text) - len(key.shown["prefix"]) == 45
    assert api_key_texts.make(key_id=1, environment=Environment.DEVELOPMENT).startswith("kpi_test_1_")


async def test_the_text_is_not_stored(accounts: Accounts, keys: Keys) -> None:
    anna = await accounts.add("anna")
    key = await keys.add(anna)
    row = str(await accounts.scalar("SELECT row_to_json(api_keys) FROM api_keys WHERE id = :id", id=key.id))
    assert key.shown["prefix"] in row
    secret = key.text.removeprefix(key.shown["prefix"])
    assert secret[:8] not in row
    assert secret[:8] not in str(await accounts.scalar("SELECT json_agg(audit_events) FROM audit_events"))


async def test_a_typing_error_costs_no_look_up_and_a_wrong_key_one(accounts: Accounts, keys: Keys) -> None:
    anna = await accounts.add("anna")
    key = await keys.add(anna)
    wrong = [
        key.text[:-1] + ("0" if key.text[-1] != "0" else "1"),
        key.text.replace("_live_", "_test_"),
        key.text.replace(f"_{key.id}_", f"_{key.id + 1}_"),
        key.text[:-1],
        key.text + "0",
        "kpi_",
        "kpi_live_99999999999999999999_x",
    ]
    with counted_statements() as statements:
        for text in wrong:
            assert_problem(await keys.exchange(text), 401, "invalid-api-key")
    assert statements == []
    unknown = api_key_texts.make(key_id=key.id + 1, environment=Environment.PRODUCTION)
    other_secret = api_key_texts.make(key_id=key.id, environment=Environment.PRODUCTION)
    for text in (unknown, other_secret):
        with counted_statements() as statements:
            assert_problem(await keys.exchange(text), 401, "invalid-api-key")
        assert len(statements) == 1


async def test_keys_are_exchanged_together_each_on_its_own_account(
    accounts: Accounts, keys: Keys, app: FastAPI
) -> None:
    anna, ben = await accounts.add("anna"), await accounts.add("ben")
    one, two = await keys.add(anna, ["read"]), await keys.add(ben, rate_limit={"requests": 5, "window": 10})
    other_secret = api_key_texts.make(key_id=one.id, environment=Environment.PRODUCTION)
    unknown = api_key_texts.make(key_id=2**40, environment=Environment.PRODUCTION)
    texts = [two.text, "kpi_", other_secret, one.text, unknown, "x" * 1000, one.text]
    with counted_statements() as statements:
        response = await keys.call("/exchanges", {"keys": texts})
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    assert len(statements) == 1
    found = response.json()["exchanged"]
    assert [each and each["key_id"] for each in found] == [two.id, None, None, one.id, None, None, one.id]
    assert found[0]["rate_limit"] == {"requests": 5, "window": 10}
    subjects = [app.state.tokens.verify(found[place]["access_token"]) for place in (0, 3)]
    assert [(each.id, each.api_key_id) for each in subjects] == [(ben.id, two.id), (anna.id, one.id)]
    single = (await keys.exchange(one.text)).json()
    assert single.keys() == found[3].keys()
    assert {**single, "access_token": ""} == {**found[3], "access_token": ""}


async def test_mistyped_keys_together_cost_no_look_up(keys: Keys) -> None:
    with counted_statements() as statements:
        response = await keys.call("/exchanges", {"keys": ["kpi_", "x"]})
    assert response.json() == {"exchanged": [None, None]}
    assert statements == []


async def test_too_many_keys_together_are_refused(keys: Keys) -> None:
    for texts in ([], ["kpi_"] * 65):
        response = await keys.call("/exchanges", {"keys": texts})
        assert_problem(response, 422, "invalid-request")
    wrong = secrets.token_hex(32)
    assert_problem(await keys.call("/exchanges", {"keys": ["x"]}, internal_key=wrong), 401, "internal-key-required")


async def test_all_keys_that_cannot_be_used_get_the_same_response(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient
) -> None:
    anna, ben = await accounts.add("anna"), await accounts.add("ben")
    expired, inactive, deleted, closed = [await keys.add(owner) for owner in (anna, anna, anna, ben)]
    await accounts.execute("UPDATE api_keys SET expires_at = now() WHERE id = :id", id=expired.id)
    assert (await client.post(f"/api-keys/{inactive.id}/deactivate", headers=anna.headers)).status_code == 200
    assert (await client.delete(f"/api-keys/{deleted.id}", headers=anna.headers)).status_code == 204
    await accounts.execute("UPDATE users SET is_active = false WHERE id = :id", id=ben.id)
    unknown = api_key_texts.make(key_id=2**40, environment=Environment.PRODUCTION)
    responses = [
        await keys.exchange(text) for text in (*(it.text for it in (expired, inactive, deleted, closed)), unknown)
    ]
    for response in responses:
        assert_problem(response, 401, "invalid-api-key")
    bodies = [response.json() | {"instance": ""} for response in responses]
    assert all(body == bodies[0] for body in bodies)


async def test_the_internal_port_demands_its_own_key(accounts: Accounts, keys: Keys, app: FastAPI) -> None:
    key = await keys.add(await accounts.add("anna"))
    body = {"key": key.text}
    for wrong in (secrets.token_hex(32), app.state.settings.paseto_secret_key.get_secret_value(), "ü"):
        assert_problem(await keys.call("/exchange", body, internal_key=wrong), 401, "internal-key-required")
    with configured(app, internal_key=None):
        assert_problem(await keys.call("/exchange", body, internal_key="None"), 401, "internal-key-required")


async def test_the_public_port_has_no_exchange(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient, app: FastAPI
) -> None:
    key = await keys.add(await accounts.add("anna"))
    internal_key = app.state.settings.internal_key.get_secret_value()
    headers = {"Authorization": f"Bearer {internal_key}"}
    response = await client.post("/internal/api-keys/exchange", json={"key": key.text}, headers=headers)
    assert response.status_code == 404


async def test_a_token_never_outlives_its_key(accounts: Accounts, keys: Keys, app: FastAPI) -> None:
    key = await keys.add(await accounts.add("anna"))
    await accounts.execute("UPDATE api_keys SET expires_at = now() + interval '9.5 s' WHERE id = :id", id=key.id)
    found = (await keys.exchange(key.text)).json()
    assert found["expires_in"] == 9
    end = await accounts.scalar("SELECT expires_at FROM api_keys WHERE id = :id", id=key.id)
    assert datetime.fromisoformat(found["key_expires_at"]) == end
    assert app.state.tokens.verify(found["access_token"]).api_key_ends_at == end


@pytest.mark.parametrize(
    ("scopes", "found"),
    [(["read"], ["read"]), (["write"], ["read", "write"]), (["admin"], ["read", "write", "admin"])],
)
async def test_each_scope_includes_those_before_it(
    accounts: Accounts, keys: Keys, scopes: list[str], found: list[str]
) -> None:
    key = await keys.add(await accounts.add_admin(), scopes)
    assert key.shown["scopes"] == scopes
    assert (await keys.exchange(key.text)).json()["scopes"] == found


async def test_a_demoted_admin_has_no_admin_key(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient, app: FastAPI
) -> None:
    root, other = await accounts.add_admin(), await accounts.add_admin("other")
    key = await keys.add(root, "admin")
    headers = await keys.headers(key)
    assert (await client.get("/audit", headers=headers)).status_code == 200
    demoted = await client.patch(f"/users/{root.id}", json={"role": "user"}, headers=other.headers)
    assert demoted.status_code == 200, demoted.text
    # The token that was issued before, and one that is issued now.
    assert_problem(await client.get("/audit", headers=headers), 403, "forbidden")
    assert_problem(await client.get("/audit", headers=await keys.headers(key)), 403, "insufficient-scope")
    token = (await keys.exchange(key.text)).json()
    assert token["scopes"] == ["read", "write"]
    assert app.state.tokens.verify(token["access_token"]).role is Role.USER


async def test_a_key_without_the_scope_admin_is_not_that_of_an_admin(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient, app: FastAPI
) -> None:
    root, anna = await accounts.add_admin(), await accounts.add("anna")
    headers = await keys.headers(await keys.add(root, "write"))
    assert app.state.tokens.verify(headers["Authorization"].removeprefix("Bearer ")).role is Role.USER
    assert_problem(await client.get("/audit", headers=headers), 403, "insufficient-scope")
    assert_problem(await client.patch(f"/users/{anna.id}", json={"bio": "x"}, headers=headers), 403, "not-your-account")
    assert "email" not in (await client.get(f"/users/{anna.id}", headers=headers)).json()


async def test_tokens_of_a_key_end_with_it_in_this_service(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient
) -> None:
    anna = await accounts.add("anna")
    key = await keys.add(anna)
    headers = await keys.headers(key)
    assert (await client.get("/auth/me", headers=headers)).json()["id"] == anna.id
    assert (await client.delete(f"/api-keys/{key.id}", headers=anna.headers)).status_code == 204
    assert_problem(await client.get("/auth/me", headers=headers), 401, "unauthenticated")


async def test_keys_outlive_a_rotation_of_the_tokens_key_and_of_the_secret(
    accounts: Accounts, keys: Keys, app: FastAPI
) -> None:
    old, new = SecretStr(secrets.token_hex(32)), SecretStr(secrets.token_hex(32))
    with hashing_with(app, auth_secret_key=old):
        key = await keys.add(await accounts.add("anna"))
    rotated = {"paseto_secret_key": SecretStr(secrets.token_hex(32))}
    with hashing_with(app, **rotated, auth_secret_key=old):
        assert (await keys.exchange(key.text)).status_code == 200
    with hashing_with(app, **rotated, auth_secret_key=new, auth_previous_secret_keys=(old,)):
        assert (await keys.exchange(key.text)).status_code == 200
    with hashing_with(app, **rotated, auth_secret_key=new):
        assert_problem(await keys.exchange(key.text), 401, "invalid-api-key")


@contextmanager
def hashing_with(app: FastAPI, **changes: object) -> Iterator[None]:
    state = app.state
    before = state.key_hasher
    settings = state.settings.model_copy(update=changes)
    state.key_hasher = KeyHasher(SecretKeys(settings).derive(api_key_texts.API_KEYS))
    try:
        yield
    finally:
        state.key_hasher = before


async def test_uses_are_counted_in_batches_and_refused_networks_recorded(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient
) -> None:
    anna = await accounts.add("anna")
    one, two = await keys.add(anna), await keys.add(anna)
    early, late = "2026-11-27T12:00:00Z", "2026-11-27T12:00:05Z"
    report = {
        "uses": [
            {"key_id": one.id, "count": 2, "last_used_at": late, "address": "192.0.2.1"},
            {"key_id": one.id, "count": 3, "last_used_at": early, "address": "192.0.2.2"},
            {"key_id": two.id, "count": 1, "last_used_at": "2999-01-01T00:00:00Z"},
            {"key_id": 2**40, "count": 1, "last_used_at": late},
        ],
        "refusals": [
            {"key_id": one.id, "count": 4, "address": "2001:db8::1"},
            {"key_id": 2**40, "count": 1, "address": "192.0.2.1"},
        ],
    }
    assert (await keys.call("/uses", report)).status_code == 204
    shown = (await client.get(f"/api-keys/{one.id}", headers=anna.headers)).json()
    assert (shown["uses"], shown["last_used_address"]) == (5, "192.0.2.1")
    assert datetime.fromisoformat(shown["last_used_at"]) <= datetime.now(UTC)
    # An earlier report that arrives later changes the count only.
    again = {"uses": [{"key_id": one.id, "count": 1, "last_used_at": early, "address": "192.0.2.9"}]}
    assert (await keys.call("/uses", again)).status_code == 204
    shown = (await client.get(f"/api-keys/{one.id}", headers=anna.headers)).json()
    assert (shown["uses"], shown["last_used_address"]) == (6, "192.0.2.1")
    shown = (await client.get(f"/api-keys/{two.id}", headers=anna.headers)).json()
    assert datetime.fromisoformat(shown["last_used_at"]) <= datetime.now(UTC)
    statement = "SELECT json_agg(json_build_array(address, details)) FROM audit_events WHERE event = :event"
    assert await accounts.scalar(statement, event="api_key.network_refused") == [
        ["2001:db8::1", {"key_id": one.id, "name": "a program", "requests": 4}]
    ]
