"""Retries of every POST of this service that creates something, with an Idempotency-Key."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import httpx
import pytest
from auth_support import Account, Accounts, assert_problem, configured, registration
from destination_support import FixedResolver
from fastapi import FastAPI
from key_support import Keys
from kpi_auth.webhooks.destinations import build_destinations

URL = "https://hooks.example.com/kpi"
_ROWS = """
    SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM api_keys) + (SELECT count(*) FROM webhooks)
        + (SELECT count(*) FROM mails) + (SELECT count(*) FROM audit_events) + (SELECT count(*) FROM events)
"""


class Creation(NamedTuple):
    path: str
    body: Mapping[str, Any]
    other_body: Mapping[str, Any]
    status: int = 201


async def _register(_client: httpx.AsyncClient, _root: Account) -> Creation:
    return Creation("/auth/register", registration("ben"), registration("carl"))


async def _create_user(_client: httpx.AsyncClient, _root: Account) -> Creation:
    return Creation("/users", {**registration("ben"), "role": "admin"}, registration("carl"))


async def _create_key(_client: httpx.AsyncClient, _root: Account) -> Creation:
    return Creation("/api-keys", {"name": "a", "scopes": "read"}, {"name": "b", "scopes": "read"})


async def _rotate_key(client: httpx.AsyncClient, root: Account) -> Creation:
    made = await client.post("/api-keys", json={"name": "a", "scopes": "read"}, headers=root.headers)
    return Creation(f"/api-keys/{made.json()['id']}/rotate", {"grace_seconds": 60}, {"grace_seconds": 61})


async def _create_webhook(_client: httpx.AsyncClient, _root: Account) -> Creation:
    return Creation("/webhooks", {"url": URL}, {"url": f"{URL}/2"})


async def _rotate_secret(client: httpx.AsyncClient, root: Account) -> Creation:
    made = await client.post("/webhooks", json={"url": URL}, headers=root.headers)
    return Creation(
        f"/webhooks/{made.json()['id']}/rotate-secret", {"grace_seconds": 60}, {"grace_seconds": 61}, status=200
    )


Prepare = Callable[[httpx.AsyncClient, Account], Awaitable[Creation]]
CREATIONS = [_register, _create_user, _create_key, _rotate_key, _create_webhook, _rotate_secret]


@pytest.mark.parametrize("prepare", CREATIONS)
async def test_a_retry_gets_the_first_response_and_changes_nothing(
    client: httpx.AsyncClient, accounts: Accounts, prepare: Prepare
) -> None:
    root = await accounts.add_admin()
    path, body, other_body, status = await prepare(client, root)
    headers = root.headers | {"Idempotency-Key": "k-1"}
    first = await client.post(path, json=body, headers=headers)
    assert first.status_code == status, first.text
    assert "Idempotency-Replayed" not in first.headers
    rows = await accounts.scalar(_ROWS)
    for _ in range(2):
        again = await client.post(path, json=body, headers=headers)
        assert (again.status_code, again.content) == (status, first.content)
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.headers["Cache-Control"] == "no-store"
        for name in ("Location", "ETag", "Content-Type"):
            assert again.headers.get(name) == first.headers.get(name)
    assert_problem(await client.post(path, json=other_body, headers=headers), 422, "idempotency-key-reused")
    assert await accounts.scalar(_ROWS) == rows


@pytest.mark.parametrize("prepare", CREATIONS)
async def test_neither_the_key_nor_the_response_can_be_read_in_the_table(
    client: httpx.AsyncClient, accounts: Accounts, prepare: Prepare
) -> None:
    root = await accounts.add_admin()
    path, body, _other_body, _status = await prepare(client, root)
    first = await client.post(path, json=body, headers=root.headers | {"Idempotency-Key": "guessable"})
    row = str(await accounts.scalar("SELECT to_jsonb(idempotency_keys)::text FROM idempotency_keys"))
    assert "guessable" not in row
    texts = [str(value) for value in first.json().values() if isinstance(value, str) and len(value) > 3]
    assert texts
    for shown in (*texts, b"guessable".hex()):
        assert shown not in row


async def test_a_signed_out_caller_gets_no_stored_response(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    headers, body = {"Idempotency-Key": "k"}, {"name": "a", "scopes": "read"}
    first = await client.post("/api-keys", json=body, headers=root.headers | headers)
    await client.post("/auth/logout", headers=root.headers)
    assert_problem(await client.post("/api-keys", json=body, headers=root.headers | headers), 401, "unauthenticated")
    # The next session of the same person has the same keys.
    entered = await accounts.enter("root")
    assert (await client.post("/api-keys", json=body, headers=entered.headers | headers)).content == first.content


async def test_an_api_key_does_not_get_the_text_of_one_with_more_rights(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    root, keys = await accounts.add_admin(), Keys(app, client)
    weak = await keys.headers(await keys.add(root, "write"))
    headers, body = {"Idempotency-Key": "k"}, {"name": "strong", "scopes": "admin"}
    assert (await client.post("/api-keys", json=body, headers=root.headers | headers)).status_code == 201
    refused = await client.post("/api-keys", json=body, headers=weak | headers)
    assert (refused.status_code, "Idempotency-Replayed" in refused.headers) == (403, False)


async def test_a_former_admin_gets_no_stored_response_of_what_is_for_admins(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    root, headers = await accounts.add_admin(), {"Idempotency-Key": "k"}
    assert (await client.post("/webhooks", json={"url": URL}, headers=root.headers | headers)).status_code == 201
    await accounts.execute("UPDATE users SET role = 'user' WHERE id = :id", id=root.id)
    assert_problem(await client.post("/webhooks", json={"url": URL}, headers=root.headers | headers), 403, "forbidden")


async def test_the_retry_of_a_webhook_needs_no_name_server(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    root, headers = await accounts.add_admin(), {"Idempotency-Key": "k"}
    first = await client.post("/webhooks", json={"url": URL}, headers=root.headers | headers)
    before = app.state.webhook_destinations
    app.state.webhook_destinations = build_destinations(app.state.settings, FixedResolver([]))
    try:
        refused = await client.post("/webhooks", json={"url": URL}, headers=root.headers)
        again = await client.post("/webhooks", json={"url": URL}, headers=root.headers | headers)
    finally:
        app.state.webhook_destinations = before
    assert (refused.status_code, again.content) == (422, first.content)


async def test_keys_of_anonymous_clients_belong_to_their_networks(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    def sent_from(address: str) -> dict[str, str]:
        return {"Idempotency-Key": "k", "X-Forwarded-For": address}

    async def register(name: str, address: str) -> httpx.Response:
        return await client.post("/users", json=registration(name), headers=sent_from(address))

    first = await register("anna", "2001:db8:1:2::1")
    assert (await register("anna", "2001:db8:1:2::2")).content == first.content
    assert_problem(await register("ben", "2001:db8:1:2::2"), 422, "idempotency-key-reused")
    # To another network the key says nothing.
    assert_problem(await register("anna", "2001:db8:1:3::1"), 409, "username-taken")
    assert (await register("ben", "192.0.2.1")).status_code == 201
    assert await accounts.scalar("SELECT count(*) FROM users") == 2


async def test_a_retried_registration_is_not_counted(client: httpx.AsyncClient, app: FastAPI) -> None:
    with configured(app, registrations_per_address=2):
        for name in ("anna", "ben"):
            headers = {"Idempotency-Key": name}
            first = await client.post("/users", json=registration(name), headers=headers)
            for _ in range(3):
                again = await client.post("/users", json=registration(name), headers=headers)
                assert (again.status_code, again.content) == (201, first.content)
        assert (await client.post("/users", json=registration("carl"))).status_code == 429


async def test_a_retried_registration_does_not_tell_whether_the_name_was_free(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI
) -> None:
    await accounts.add("anna")
    with configured(app, registration_tells_username=False):
        shown = []
        for body in (registration("ben"), registration("Anna", email="other@example.com")):
            headers = {"Idempotency-Key": body["username"]}
            responses = [await client.post("/users", json=body, headers=headers) for _ in range(3)]
            responses.append(await client.post("/users", json=body | {"bio": "x"}, headers=headers))
            shown.append([(each.status_code, set(each.headers)) for each in responses])
            assert {each.content for each in responses[:3]} == {b'{"status":"accepted"}'}
    assert shown[0] == shown[1]
    assert [status for status, _headers in shown[0]] == [202, 202, 202, 422]
    # The owners of the addresses got one mail each.
    for address in ("ben@example.com", "other@example.com"):
        assert len(await accounts.mails(address)) == 1


async def test_a_taken_address_that_is_not_disclosed_stays_so_in_a_retry(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    await accounts.add("anna")
    headers, body = {"Idempotency-Key": "k"}, registration("ben", email="anna@example.com")
    first = await client.post("/users", json=body, headers=headers)
    again = await client.post("/users", json=body, headers=headers)
    assert (first.status_code, again.content) == (201, first.content)
    assert await accounts.scalar("SELECT count(*) FROM mails WHERE recipient = 'anna@example.com'") == 2


async def test_a_refused_registration_is_processed_again(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    headers = {"Idempotency-Key": "k"}
    for _ in range(2):
        taken = await client.post("/users", json=registration("anna"), headers=headers)
        assert_problem(taken, 409, "username-taken")
    await accounts.execute("UPDATE users SET username = 'other', email = 'o@example.com' WHERE id = :id", id=anna.id)
    made = await client.post("/users", json=registration("anna"), headers=headers)
    assert (made.status_code, "Idempotency-Replayed" in made.headers) == (201, False)
