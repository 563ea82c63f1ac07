"""What a key cannot do about keys: after a rotation, beyond its own rate limit, and against an admin's decision."""

from typing import Any

import httpx
import pytest
from auth_support import Account, Accounts, assert_problem
from key_support import Keys


@pytest.mark.parametrize(
    ("method", "action"), [("PATCH", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/deactivate")]
)
async def test_a_rotated_key_cannot_end_its_successor(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient, method: str, action: str
) -> None:
    anna = await accounts.add("anna")
    old = await keys.add(anna)
    made = await client.post(f"/api-keys/{old.id}/rotate", json={"grace_seconds": 3600}, headers=anna.headers)
    new, headers = made.json(), await keys.headers(old)
    for key_id in (new["id"], old.id):
        body = {"name": "y"} if method == "PATCH" else None
        refused = await client.request(method, f"/api-keys/{key_id}{action}", json=body, headers=headers)
        assert_problem(refused, 403, "replaced-api-key")
    # Nor does it make a key that outlives it.
    created = await client.post("/api-keys", json={"name": "x", "scopes": "read"}, headers=headers)
    assert_problem(created, 403, "replaced-api-key")
    assert (await keys.exchange(new["key"])).status_code == 200
    # It still works, and its possession still ends it.
    assert (await client.get("/auth/me", headers=headers)).status_code == 200
    assert (await client.post("/api-keys/self/revoke", headers=headers)).status_code == 204
    assert (await keys.exchange(new["key"])).status_code == 200


LIMIT = {"requests": 100, "window": 60}


@pytest.mark.parametrize(
    "wider",
    [
        {"requests": 101, "window": 60},
        {"requests": 100, "window": 59},
        # Sixty of these windows are in one of the key's own.
        {"requests": 2, "window": 1},
    ],
)
async def test_a_key_does_not_exceed_its_rate_limit(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient, wider: dict[str, int]
) -> None:
    key = await keys.add(await accounts.add("anna"), rate_limit=LIMIT)
    headers = await keys.headers(key)
    made = await client.post("/api-keys", json={"name": "x", "scopes": "read", "rate_limit": wider}, headers=headers)
    assert_problem(made, 403, "beyond-your-rights", "#/body/rate_limit")
    changed = await client.patch(f"/api-keys/{key.id}", json={"rate_limit": wider}, headers=headers)
    assert_problem(changed, 403, "beyond-your-rights", "#/body/rate_limit")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, LIMIT),
        ({"rate_limit": None}, LIMIT),
        ({"rate_limit": {"requests": 100, "window": 3600}}, {"requests": 100, "window": 3600}),
        ({"rate_limit": {"requests": 50, "window": 30}}, {"requests": 50, "window": 30}),
    ],
)
async def test_a_limited_key_makes_only_limited_keys(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient, given: dict[str, Any], expected: dict[str, int]
) -> None:
    anna = await accounts.add("anna")
    key, unlimited = await keys.add(anna, rate_limit=LIMIT), await keys.add(anna)
    headers = await keys.headers(key)
    made = await client.post("/api-keys", json={"name": "x", "scopes": "read", **given}, headers=headers)
    assert made.json()["rate_limit"] == expected
    changed = await client.patch(f"/api-keys/{key.id}", json={"name": "y", **given}, headers=headers)
    assert changed.json()["rate_limit"] == expected
    # It gets the text of the successor, which is therefore limited as it is itself by then.
    rotated = await client.post(f"/api-keys/{unlimited.id}/rotate", headers=headers)
    assert rotated.json()["rate_limit"] == expected


async def act(client: httpx.AsyncClient, by: Account, key_id: int, action: str) -> httpx.Response:
    return await client.post(f"/api-keys/{key_id}/{action}", headers=by.headers)


async def test_only_an_admin_activates_what_an_admin_deactivated(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient
) -> None:
    root, anna = await accounts.add_admin(), await accounts.add("anna")
    key, other = await keys.add(anna), await keys.add(anna)
    assert (await act(client, anna, key.id, "deactivate")).status_code == 200
    # Also where the owner had done so before, or does so again.
    for by in (root, anna):
        assert (await act(client, by, key.id, "deactivate")).status_code == 200
    assert_problem(await act(client, anna, key.id, "activate"), 403, "deactivated-by-admin")
    by_key = await client.post(f"/api-keys/{key.id}/activate", headers=await keys.headers(other))
    assert_problem(by_key, 403, "deactivated-by-admin")
    assert_problem(await keys.exchange(key.text), 401, "invalid-api-key")
    assert (await act(client, root, key.id, "activate")).status_code == 200
    assert (await keys.exchange(key.text)).status_code == 200
    # From then on the owner decides again.
    for action in ("deactivate", "activate"):
        assert (await act(client, anna, key.id, action)).status_code == 200


@pytest.mark.parametrize(
    ("made", "change", "is_narrower"),
    [
        ({}, {"scopes": "read"}, True),
        ({}, {"scopes": "write"}, False),
        ({"scopes": "read"}, {"scopes": "read write"}, False),
        ({}, {"expires_at": "2050-01-01T00:00:00Z"}, True),
        ({"expires_at": "2050-01-01T00:00:00Z"}, {"expires_at": "2049-01-01T00:00:00Z"}, True),
        ({"expires_at": "2050-01-01T00:00:00Z"}, {"expires_at": None}, False),
        ({}, {"allowed_networks": ["10.0.0.0/8"]}, True),
        ({"allowed_networks": ["10.0.0.0/8"]}, {"allowed_networks": ["10.1.0.0/16"]}, True),
        ({"allowed_networks": ["10.1.0.0/16"]}, {"allowed_networks": ["10.0.0.0/8"]}, False),
        ({"allowed_networks": ["10.1.0.0/16"]}, {"allowed_networks": []}, False),
        ({}, {"name": "another"}, False),
    ],
)
async def test_what_was_begun_with_a_key_ends_when_the_key_is_narrowed(
    accounts: Accounts,
    keys: Keys,
    client: httpx.AsyncClient,
    made: dict[str, Any],
    change: dict[str, Any],
    is_narrower: bool,
) -> None:
    anna = await accounts.add("anna")
    key = await keys.add(anna, **made)
    response = await client.patch(f"/api-keys/{key.id}", json=change, headers=anna.headers)
    assert response.status_code == 200, response.text
    put = "SELECT string_agg(type, ' ' ORDER BY id) FROM events WHERE data ->> 'api_key_id' = CAST(:id AS text)"
    assert await accounts.scalar(put, id=key.id) == ("api_key.ended api_key.activated" if is_narrower else None)
    await client.post(f"/api-keys/{key.id}/deactivate", headers=anna.headers)
    await client.patch(f"/api-keys/{key.id}", json={"scopes": "read"}, headers=anna.headers)
    assert (await accounts.scalar(put, id=key.id)).endswith("api_key.ended")
