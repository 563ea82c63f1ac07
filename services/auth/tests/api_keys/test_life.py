"""The life of API keys: making, reading, changing, rotating and ending them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from auth_support import PASSWORD, Accounts, assert_problem, configured
from fastapi import FastAPI
from key_support import Keys
from kpi_auth.housekeeping import tidy
from kpi_auth.settings import AuthSettings


def moment(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


async def test_a_new_key_is_shown_once(accounts: Accounts, client: httpx.AsyncClient) -> None:
    anna = await accounts.add("anna")
    body = {"name": " Nightly import ", "description": "runs at 3", "scopes": ["read"], "expires_at": moment(30)}
    response = await client.post("/api-keys", json=body, headers=anna.headers)
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    made = response.json()
    assert response.headers["location"] == f"/api-keys/{made['id']}"
    assert (made["name"], made["owner_id"], made["state"], made["uses"]) == ("Nightly import", anna.id, "active", 0)
    text = made.pop("key")
    shown = await client.get(f"/api-keys/{made['id']}", headers=anna.headers)
    assert shown.json() == made
    assert shown.headers["etag"] == response.headers["etag"]
    listed = await client.get("/api-keys", headers=anna.headers)
    assert listed.json() == {"items": [made], "next": None}
    assert text not in shown.text + listed.text
    assert (await accounts.events(anna.id))[-1] == "api_key.created"


@pytest.mark.parametrize(
    "scopes", [["read", "write"], "read write", "read,write", "write, read", ["write", "read", "read"]]
)
async def test_scopes_are_a_list_or_a_text(accounts: Accounts, keys: Keys, scopes: object) -> None:
    assert (await keys.add(await accounts.add("anna"), scopes)).shown["scopes"] == ["read", "write"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"scopes": []}, "#/body/scopes"),
        ({"scopes": " , "}, "#/body/scopes"),
        ({"scopes": "read delete"}, "#/body/scopes/1"),
        ({"scopes": None}, "#/body/scopes"),
        ({"name": ""}, "#/body/name"),
        ({"name": "two\nlines"}, "#/body/name"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "#/body/expires_at"),
        ({"expires_at": 1_900_000_000}, "#/body/expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-23:59"}, "#/body/expires_at"),
        ({"expires_at": "2027-01-01T00:00:00"}, "#/body/expires_at"),
        ({"allowed_networks": ["192.0.2.1/24"]}, "#/body/allowed_networks/0"),
        ({"allowed_networks": ["example.com"]}, "#/body/allowed_networks/0"),
        ({"allowed_networks": ["192.0.2.1"] * 101}, "#/body/allowed_networks"),
        ({"rate_limit": {"requests": 0}}, "#/body/rate_limit/requests"),
        ({"rate_limit": {"requests": 1, "window": 86_401}}, "#/body/rate_limit/window"),
        ({"user_id": 1}, "#/body/user_id"),
    ],
)
async def test_an_invalid_field_is_named(
    accounts: Accounts, client: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    anna = await accounts.add("anna")
    response = await client.post("/api-keys", json={"name": "x", "scopes": "read"} | body, headers=anna.headers)
    assert_problem(response, 422, "invalid-request", pointer)


async def test_networks_have_one_spelling(accounts: Accounts, keys: Keys) -> None:
    given = ["::ffff:192.0.2.0/120", "192.0.2.0/24", "::FFFF:192.0.2.7", "2001:DB8::/32", "192.0.2.9"]
    key = await keys.add(await accounts.add("anna"), allowed_networks=given)
    assert key.shown["allowed_networks"] == ["192.0.2.0/24", "192.0.2.7/32", "2001:db8::/32", "192.0.2.9/32"]


async def test_a_key_never_has_more_than_its_owner(accounts: Accounts, client: httpx.AsyncClient) -> None:
    anna = await accounts.add("anna")
    refused = await client.post("/api-keys", json={"name": "x", "scopes": "read admin"}, headers=anna.headers)
    assert_problem(refused, 403, "beyond-your-rights", "#/body/scopes")


async def test_a_key_gives_no_more_than_it_has(accounts: Accounts, keys: Keys, client: httpx.AsyncClient) -> None:
    root = await accounts.add_admin()
    bounds = {"expires_at": moment(10), "allowed_networks": ["192.0.2.0/24"]}
    headers = await keys.headers(await keys.add(root, "write", **bounds))

    async def create(**body: object) -> httpx.Response:
        return await client.post("/api-keys", json={"name": "x", "scopes": "read"} | body, headers=headers)

    inherited = await create()
    assert inherited.status_code == 201
    assert inherited.json()["allowed_networks"] == ["192.0.2.0/24"]
    assert abs(
        datetime.fromisoformat(inherited.json()["expires_at"]) - datetime.fromisoformat(bounds["expires_at"])
    ) < timedelta(seconds=1)  # type: ignore[arg-type]
    assert (await create(expires_at=moment(9), allowed_networks=["192.0.2.8/29"])).status_code == 201
    for name, value in {
        "scopes": "admin",
        "expires_at": moment(11),
        "allowed_networks": ["192.0.2.0/23"],
    }.items():
        assert_problem(await create(**{name: value}), 403, "beyond-your-rights", f"#/body/{name}")
    assert_problem(await create(allowed_networks=["2001:db8::/64"]), 403, "beyond-your-rights")
    own_end = await client.patch(f"/api-keys/{inherited.json()['id']}", json={"expires_at": None}, headers=headers)
    assert own_end.json()["expires_at"] is not None


@pytest.mark.parametrize("request_line", ["PATCH ", "DELETE ", "POST /rotate", "POST /deactivate", "POST /activate"])
async def test_a_key_does_not_manage_a_stronger_one(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient, request_line: str
) -> None:
    root = await accounts.add_admin()
    strong, weak = await keys.add(root, "admin"), await keys.add(root, "write")
    method, _, action = request_line.partition(" ")
    body = {"name": "y"} if method == "PATCH" else None
    headers = await keys.headers(weak)
    refused = await client.request(method, f"/api-keys/{strong.id}{action}", json=body, headers=headers)
    assert_problem(refused, 403, "beyond-your-rights")


async def test_keys_of_others_do_not_exist(accounts: Accounts, keys: Keys, client: httpx.AsyncClient) -> None:
    anna, ben = await accounts.add("anna"), await accounts.add("ben")
    key = await keys.add(anna)
    for headers in (ben.headers, await keys.headers(await keys.add(ben))):
        for method, action in (
            ("GET", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/rotate"),
            ("POST", "/deactivate"),
        ):
            body = {"name": "y"} if method == "PATCH" else None
            response = await client.request(method, f"/api-keys/{key.id}{action}", json=body, headers=headers)
            assert_problem(response, 404, "api-key-not-found")
        listed = await client.get("/api-keys", headers=headers)
        assert key.id not in [item["id"] for item in listed.json()["items"]]
        assert_problem(await client.get("/api-keys", params={"owner_id": anna.id}, headers=headers), 403, "forbidden")


async def test_an_admin_sees_all_and_filters(accounts: Accounts, keys: Keys, client: httpx.AsyncClient) -> None:
    root, anna, ben = await accounts.add_admin(), await accounts.add("anna"), await accounts.add("ben")
    found = {name: await keys.add(owner) for name, owner in (("a1", anna), ("a2", anna), ("b1", ben), ("b2", ben))}
    await accounts.execute("UPDATE api_keys SET expires_at = now() WHERE id = :id", id=found["a1"].id)
    assert (await client.post(f"/api-keys/{found['b1'].id}/deactivate", headers=root.headers)).json()[
        "state"
    ] == "inactive"

    async def names(**query: object) -> list[str]:
        response = await client.get("/api-keys", params=query, headers=root.headers)
        assert response.status_code == 200, response.text
        by_id = {key.id: name for name, key in found.items()}
        return [by_id[item["id"]] for item in response.json()["items"]]

    assert await names() == ["b2", "b1", "a2", "a1"]
    assert await names(owner_id=anna.id) == ["a2", "a1"]
    assert await names(state="expired") == ["a1"]
    assert await names(state="inactive") == ["b1"]
    assert await names(state="active", owner_id=ben.id) == ["b2"]
    # Page by page.
    first = (await client.get("/api-keys", params={"limit": 3}, headers=root.headers)).json()
    rest = (await client.get("/api-keys", params={"limit": 3, "cursor": first["next"]}, headers=root.headers)).json()
    assert [item["id"] for item in (*first["items"], *rest["items"])] == [
        found[name].id for name in ("b2", "b1", "a2", "a1")
    ]
    assert rest["next"] is None
    wrong = await client.get("/api-keys", params={"cursor": first["next"], "state": "active"}, headers=root.headers)
    assert_problem(wrong, 422, "invalid-cursor")


async def test_changes_are_applied_to_the_version_that_was_read(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient
) -> None:
    anna = await accounts.add("anna")
    key = await keys.add(anna, "read", rate_limit={"requests": 5})
    address = f"/api-keys/{key.id}"
    etag = (await client.get(address, headers=anna.headers)).headers["etag"]
    sent = {"name": "other", "scopes": "write", "rate_limit": None, "allowed_networks": ["192.0.2.1"]}
    changed = await client.patch(address, json=sent, headers={**anna.headers, "If-Match": etag})
    assert changed.status_code == 200, changed.text
    assert changed.headers["etag"] != etag
    shown = changed.json()
    assert (shown["name"], shown["scopes"], shown["rate_limit"]) == ("other", ["write"], None)
    for method, action in (("PATCH", ""), ("DELETE", ""), ("POST", "/rotate"), ("POST", "/deactivate")):
        body = {"name": "third"} if method == "PATCH" else None
        late = await client.request(method, address + action, json=body, headers={**anna.headers, "If-Match": etag})
        assert_problem(late, 412, "changed-meanwhile")
        assert late.headers["etag"] == changed.headers["etag"]
    again = await client.patch(address, json={"name": "other"}, headers=anna.headers)
    assert again.headers["etag"] == changed.headers["etag"]
    assert_problem(await client.patch(address, json={}, headers=anna.headers), 422, "invalid-request")
    assert_problem(
        await client.patch(address, json={"scopes": "admin"}, headers=anna.headers), 403, "beyond-your-rights"
    )


async def test_after_a_rotation_both_work_for_the_grace(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient
) -> None:
    anna = await accounts.add("anna")
    old = await keys.add(anna, "read", allowed_networks=["192.0.2.0/24"], rate_limit={"requests": 5})
    response = await client.post(f"/api-keys/{old.id}/rotate", json={"grace_seconds": 3600}, headers=anna.headers)
    assert response.status_code == 201, response.text
    new = response.json()
    assert (new["replaces"], new["scopes"], new["name"]) == (old.id, ["read"], old.shown["name"])
    assert (new["allowed_networks"], new["rate_limit"]) == (["192.0.2.0/24"], {"requests": 5, "window": 60})
    for text in (old.text, new["key"]):
        assert (await keys.exchange(text)).status_code == 200
    end = datetime.fromisoformat(new["replaced_expires_at"])
    assert timedelta(minutes=59) < end - datetime.now(UTC) <= timedelta(hours=1, seconds=1)
    shown = (await client.get(f"/api-keys/{old.id}", headers=anna.headers)).json()
    assert (shown["replaced_by"], shown["expires_at"]) == (new["id"], new["replaced_expires_at"])
    assert_problem(await client.post(f"/api-keys/{old.id}/rotate", headers=anna.headers), 409, "api-key-replaced")


async def test_without_a_grace_the_old_key_ends_at_once(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient
) -> None:
    anna = await accounts.add("anna")
    old = await keys.add(anna)
    # A key may replace itself.
    new = await client.post(f"/api-keys/{old.id}/rotate", headers=await keys.headers(old))
    assert new.status_code == 201, new.text
    assert_problem(await keys.exchange(old.text), 401, "invalid-api-key")
    assert (await keys.exchange(new.json()["key"])).status_code == 200


async def test_a_grace_never_passes_the_old_end(accounts: Accounts, keys: Keys, client: httpx.AsyncClient) -> None:
    anna = await accounts.add("anna")
    old = await keys.add(anna, expires_at=moment(1))
    address = f"/api-keys/{old.id}/rotate"
    for seconds in (-1, 604_801, 1.5, "60"):
        assert_problem(
            await client.post(address, json={"grace_seconds": seconds}, headers=anna.headers), 422, "invalid-request"
        )
    body = {"grace_seconds": 604_800, "expires_at": moment(90)}
    new = (await client.post(address, json=body, headers=anna.headers)).json()
    assert new["replaced_expires_at"] == old.shown["expires_at"]
    assert datetime.fromisoformat(new["expires_at"]) > datetime.now(UTC) + timedelta(days=89)


async def test_only_an_active_key_of_ones_own_is_rotated(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient
) -> None:
    root, anna = await accounts.add_admin(), await accounts.add("anna")
    key = await keys.add(anna)
    assert_problem(await client.post(f"/api-keys/{key.id}/rotate", headers=root.headers), 403, "not-your-key")
    await client.post(f"/api-keys/{key.id}/deactivate", headers=anna.headers)
    assert_problem(await client.post(f"/api-keys/{key.id}/rotate", headers=anna.headers), 409, "api-key-not-active")


async def test_a_key_is_deactivated_and_activated(accounts: Accounts, keys: Keys, client: httpx.AsyncClient) -> None:
    anna = await accounts.add("anna")
    key = await keys.add(anna)
    for action, state, status in (("deactivate", "inactive", 401), ("activate", "active", 200)):
        # The second time nothing changes.
        responses = [await client.post(f"/api-keys/{key.id}/{action}", headers=anna.headers) for _ in range(2)]
        assert [response.json()["state"] for response in responses] == [state, state]
        assert responses[0].headers["etag"] == responses[1].headers["etag"]
        assert (await keys.exchange(key.text)).status_code == status
    assert (await accounts.events(anna.id))[-2:] == ["api_key.deactivated", "api_key.activated"]


async def test_the_key_in_use_does_not_end_itself_by_mistake(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient
) -> None:
    anna = await accounts.add("anna")
    key, other = await keys.add(anna), await keys.add(anna)
    headers = await keys.headers(key)
    assert_problem(await client.delete(f"/api-keys/{key.id}", headers=headers), 409, "api-key-in-use")
    assert_problem(await client.post(f"/api-keys/{key.id}/deactivate", headers=headers), 409, "api-key-in-use")
    assert (await client.delete(f"/api-keys/{other.id}", headers=headers)).status_code == 204
    assert_problem(await client.get(f"/api-keys/{other.id}", headers=headers), 404, "api-key-not-found")


@pytest.mark.parametrize("scopes", ["read", "write"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_possession_ends_a_key_for_good(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient, scopes: str, slash: str
) -> None:
    anna = await accounts.add("anna")
    used, found, inactive = await keys.add(anna, scopes), await keys.add(anna, scopes), await keys.add(anna, scopes)
    headers = await keys.headers(used)
    assert (await client.post(f"/api-keys/self/revoke{slash}", headers=headers)).status_code == 204
    assert_problem(await client.get("/auth/me", headers=headers), 401, "unauthenticated")
    await client.post(f"/api-keys/{inactive.id}/deactivate", headers=anna.headers)
    for key in (found, inactive):
        revoked = await client.post(f"/api-keys/self/revoke{slash}", json={"key": key.text})
        assert revoked.status_code == 204, revoked.text
        assert_problem(await keys.exchange(key.text), 401, "invalid-api-key")
        assert_problem(await client.post("/api-keys/self/revoke", json={"key": key.text}), 401, "invalid-api-key")
    assert (await client.get("/api-keys", headers=anna.headers)).json()["items"] == []
    assert (await accounts.events(anna.id)).count("api_key.revoked") == 3


async def test_a_person_has_no_key_to_revoke(accounts: Accounts, client: httpx.AsyncClient) -> None:
    anna = await accounts.add("anna")
    assert_problem(await client.post("/api-keys/self/revoke"), 401, "unauthenticated")
    assert_problem(await client.post("/api-keys/self/revoke", headers=anna.headers), 401, "invalid-api-key")


async def test_an_account_has_a_limited_number_of_keys(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient, app: FastAPI
) -> None:
    anna = await accounts.add("anna")
    with configured(app, api_key_limit=2):
        first = await keys.add(anna)
        await keys.add(anna)
        body = {"name": "x", "scopes": "read"}
        assert_problem(await client.post("/api-keys", json=body, headers=anna.headers), 409, "too-many-api-keys")
        await client.delete(f"/api-keys/{first.id}", headers=anna.headers)
        await keys.add(anna)


async def test_a_closed_account_has_no_keys(accounts: Accounts, keys: Keys, client: httpx.AsyncClient) -> None:
    root, anna, ben = await accounts.add_admin(), await accounts.add("anna"), await accounts.add("ben")
    of_anna, of_ben = await keys.add(anna), await keys.add(ben)
    headers = await keys.headers(of_anna)
    for is_active, status in ((False, 401), (True, 200)):
        await client.patch(f"/users/{anna.id}", json={"is_active": is_active}, headers=root.headers)
        assert (await keys.exchange(of_anna.text)).status_code == status
        assert (await client.get("/auth/me", headers=headers)).status_code == status
    # A deletion deletes the keys, too: a restored account has none.
    deleted = await client.request("DELETE", f"/users/{ben.id}", json={"password": PASSWORD}, headers=ben.headers)
    assert deleted.status_code == 204
    assert (await client.post(f"/users/{ben.id}/restore", headers=root.headers)).status_code == 200
    assert_problem(await keys.exchange(of_ben.text), 401, "invalid-api-key")


async def test_what_decides_about_an_account_is_for_people(
    accounts: Accounts, keys: Keys, client: httpx.AsyncClient
) -> None:
    root = await accounts.add_admin()
    headers = await keys.headers(await keys.add(root, "admin"))
    change = {"current_password": PASSWORD, "new_password": "another quiet bicycle"}
    for method, path, body in [
        ("POST", "/auth/change-password", change),
        ("POST", "/auth/change-email", {"password": PASSWORD, "email": "new@example.com"}),
        ("GET", "/auth/sessions", None),
        ("DELETE", "/auth/sessions/1", None),
        ("POST", "/auth/logout", None),
        ("DELETE", f"/users/{root.id}", {"password": PASSWORD}),
        ("GET", f"/users/{root.id}/sessions", None),
        ("DELETE", f"/users/{root.id}/sessions", None),
        ("DELETE", f"/users/{root.id}/sessions/1", None),
        ("PATCH", f"/users/{root.id}", {"username": "another"}),
        ("PATCH", f"/users/{root.id}", {"is_active": False}),
    ]:
        other = (
            await accounts.add_admin(f"other-{method}-{path.count('/')}-{len(path)}") if method == "DELETE" else None
        )
        assert other is None or other.id != root.id
        assert_problem(await client.request(method, path, json=body, headers=headers), 403, "person-required")
    # A person's name that is sent unchanged is no change, and the profile is not how a person signs in.
    profile = {"username": "root", "bio": "Reads about bees."}
    assert (await client.put(f"/users/{root.id}", json=profile, headers=headers)).status_code == 200
    # An admin's key may still see the sessions of others, among which there is none of its own.
    anna = await accounts.add("anna")
    listed = await client.get(f"/users/{anna.id}/sessions", headers=headers)
    assert listed.status_code == 200, listed.text
    assert [item["is_current"] for item in listed.json()["items"]] == [False]


async def test_keys_are_deleted_a_month_after_their_end(accounts: Accounts, keys: Keys, settings: AuthSettings) -> None:
    anna = await accounts.add("anna")
    for days in (31, 29, -1):
        key = await keys.add(anna, name=f"ends {days}")
        end = datetime.now(UTC) - timedelta(days=days)
        await accounts.execute("UPDATE api_keys SET expires_at = :end WHERE id = :id", end=end, id=key.id)
    await keys.add(anna, name="endless")
    assert (await tidy(accounts.app.state.database, settings, most=1))["api_keys"] == 1
    names = await accounts.scalar("SELECT array_agg(name ORDER BY id) FROM api_keys")
    assert names == ["ends 29", "ends -1", "endless"]


async def test_each_event_names_the_key(accounts: Accounts, keys: Keys, client: httpx.AsyncClient) -> None:
    anna = await accounts.add("anna")
    tool, key = await keys.add(anna), await keys.add(anna)
    headers = await keys.headers(tool)
    await client.patch(f"/api-keys/{key.id}", json={"name": "y"}, headers=headers)
    await client.delete(f"/api-keys/{key.id}", headers=headers)
    statement = """
        SELECT json_agg(json_build_array(event, actor_id, details) ORDER BY id) FROM audit_events
        WHERE event LIKE 'api_key.%' AND details ? 'by_key_id'
    """
    assert await accounts.scalar(statement) == [
        ["api_key.changed", anna.id, {"key_id": key.id, "fields": ["name"], "by_key_id": tool.id}],
        ["api_key.deleted", anna.id, {"key_id": key.id, "name": "y", "by_key_id": tool.id}],
    ]
