"""The endpoints of webhooks: what admins see, what is refused, and what is recorded."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from auth_support import Account, Accounts, assert_problem, configured
from destination_support import FixedResolver
from fastapi import FastAPI
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.secret_keys import SecretKeys
from kpi_auth.webhooks.destinations import build_destinations
from kpi_auth.webhooks.signatures import SecretSealer
from kpi_kit.destinations import Destinations

URL = "https://hooks.example.com/kpi?tenant=7"


async def make(client: httpx.AsyncClient, admin: Account, **values: object) -> dict[str, Any]:
    response = await client.post("/webhooks", json={"url": URL, **values}, headers=admin.headers)
    assert response.status_code == 201, response.text
    found: dict[str, Any] = response.json()
    return found


async def test_a_webhook_is_made_with_a_secret_that_is_shown_once(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    root = await accounts.add_admin()
    response = await client.post("/webhooks", json={"url": URL, "description": "CRM"}, headers=root.headers)
    made = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/webhooks/{made['id']}"
    assert response.headers["cache-control"] == "no-store"
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert (made["url"], made["description"], made["event_types"]) == (URL, "CRM", [])
    assert (made["state"], made["created_by"], made["pending"], made["dead"]) == ("active", root.id, 0, 0)
    shown = await client.get(f"/webhooks/{made['id']}", headers=root.headers)
    assert shown.json() == made
    assert shown.headers["cache-control"] == "no-store"
    listed = await client.get("/webhooks", headers=root.headers)
    assert listed.json() == {"items": [made], "next": None}
    assert secret not in shown.text + listed.text


async def test_the_database_has_the_secret_encrypted_only(
    client: httpx.AsyncClient, accounts: Accounts, settings: AuthSettings
) -> None:
    made = await make(client, await accounts.add_admin())
    stored = await accounts.scalar("SELECT secret FROM webhooks WHERE id = :id", id=made["id"])
    assert isinstance(stored, str)
    assert made["secret"].removeprefix("whsec_") not in stored
    assert SecretSealer(SecretKeys(settings)).open(stored) == made["secret"]


async def test_webhooks_are_for_admins(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    for headers, status, slug in ((anna.headers, 403, "forbidden"), ({}, 401, "unauthenticated")):
        assert_problem(await client.post("/webhooks", json={"url": URL}, headers=headers), status, slug)
        assert_problem(await client.get("/webhooks", headers=headers), status, slug)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ([], []),
        (["*"], []),
        (["account.renamed", "*"], []),
        (["account.*", "session.ended", "account.*"], ["account.*", "session.ended"]),
    ],
)
async def test_event_types_are_types_or_patterns(
    client: httpx.AsyncClient, accounts: Accounts, sent: list[str], kept: list[str]
) -> None:
    made = await make(client, await accounts.add_admin(), event_types=sent)
    assert made["event_types"] == kept


@pytest.mark.parametrize("wrong", ["account", "acount.*", "*.created", "account.", "account.**", "", "post.created"])
async def test_a_pattern_that_matches_nothing_is_refused(
    client: httpx.AsyncClient, accounts: Accounts, wrong: str
) -> None:
    root = await accounts.add_admin()
    response = await client.post("/webhooks", json={"url": URL, "event_types": [wrong]}, headers=root.headers)
    assert_problem(response, 422, "invalid-request", "#/body/event_types/0")


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.com/", "https://user:word@example.com/", "ftp://example.com/", "https://example.com/#x"],
)
async def test_a_url_that_may_not_be_used_is_refused_where_it_is_sent(
    client: httpx.AsyncClient, accounts: Accounts, url: str
) -> None:
    root = await accounts.add_admin()
    made = await make(client, root)
    for method, path in (("POST", "/webhooks"), ("PATCH", f"/webhooks/{made['id']}")):
        response = await client.request(method, path, json={"url": url}, headers=root.headers)
        assert_problem(response, 422, "invalid-request", "#/body/url")


@pytest.fixture
def replace_destinations(app: FastAPI) -> Iterator[Callable[[Destinations], None]]:
    before = app.state.webhook_destinations
    yield lambda other: setattr(app.state, "webhook_destinations", other)
    app.state.webhook_destinations = before


async def test_a_host_inside_is_refused_where_it_is_sent(
    client: httpx.AsyncClient,
    accounts: Accounts,
    settings: AuthSettings,
    replace_destinations: Callable[[Destinations], None],
) -> None:
    root = await accounts.add_admin()
    made = await make(client, root)
    replace_destinations(build_destinations(settings, FixedResolver(["93.184.215.14", "169.254.169.254"])))
    for method, path in (("POST", "/webhooks"), ("PATCH", f"/webhooks/{made['id']}")):
        response = await client.request(method, path, json={"url": URL}, headers=root.headers)
        assert_problem(response, 422, "invalid-request", "#/body/url")
        assert "has an address that is not public" in response.json()["detail"]
        assert "169.254" not in response.text
    # The address is not looked up for those who may not make a webhook, nor where it stays the same.
    anna = await accounts.add("anna")
    assert_problem(await client.post("/webhooks", json={"url": URL}, headers=anna.headers), 403, "forbidden")
    changed = await client.patch(f"/webhooks/{made['id']}", json={"description": "x"}, headers=root.headers)
    assert changed.status_code == 200


async def test_a_webhook_is_changed_paused_and_deleted(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    path = f"/webhooks/{(await make(client, root))['id']}"
    changes: list[dict[str, Any]] = [
        {"url": "https://other.example.com/x"},
        {"event_types": ["session.*"]},
        {"description": "CRM"},
        {"description": None},
        {"is_active": False},
    ]
    for change in changes:
        changed = await client.patch(path, json=change, headers=root.headers)
        assert changed.status_code == 200, changed.text
        assert change.items() <= changed.json().items()
    assert changed.json()["state"] == "paused"
    assert (await client.patch(path, json={"is_active": True}, headers=root.headers)).json()["state"] == "active"
    for wrong in ({}, {"secret": "whsec_x"}, {"id": 1}, {"is_active": None}, {"url": None}):
        assert_problem(await client.patch(path, json=wrong, headers=root.headers), 422, "invalid-request")
    assert (await client.delete(path, headers=root.headers)).status_code == 204
    for method, more in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("GET", "/deliveries"),
        ("POST", "/rotate-secret"),
    ):
        body = {"json": {"is_active": True}} if method == "PATCH" else {}
        response = await client.request(method, path + more, headers=root.headers, **body)  # type: ignore[arg-type]
        assert_problem(response, 404, "webhook-not-found")


async def test_what_admins_do_with_webhooks_is_recorded(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    made = await make(client, root, event_types=["account.*"])
    path = f"/webhooks/{made['id']}"
    await client.patch(path, json={"description": "x", "is_active": False}, headers=root.headers)
    # No change, no record.
    await client.patch(path, json={"description": "x"}, headers=root.headers)
    await client.post(f"{path}/rotate-secret", json={"grace_seconds": 60}, headers=root.headers)
    await client.post(f"{path}/replay", json={"after_seq": 0}, headers=root.headers)
    await client.delete(path, headers=root.headers)
    listed = await client.get("/audit", params={"limit": 5, "actor_id": root.id}, headers=root.headers)
    items = list(reversed(listed.json()["items"]))
    assert [item["event"] for item in items] == [
        *("webhook.created", "webhook.changed", "webhook.secret_rotated", "webhook.replayed", "webhook.deleted")
    ]
    assert {item["details"]["webhook_id"] for item in items} == {made["id"]}
    # Path and query may be the receiver's secret.
    receiver = {items[0]["details"]["receiver"], items[-1]["details"]["receiver"]}
    assert receiver == {"https://hooks.example.com"}
    assert "tenant" not in listed.text
    assert items[1]["details"]["fields"] == ["description", "is_active"]
    assert "whsec_" not in listed.text


async def test_a_secret_is_replaced(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    made = await make(client, root)
    path = f"/webhooks/{made['id']}/rotate-secret"
    rotated = await client.post(path, headers=root.headers)
    assert rotated.status_code == 200
    assert rotated.headers["cache-control"] == "no-store"
    assert rotated.json()["secret"] != made["secret"]
    assert rotated.json()["previous_secret_until"] is not None
    at_once = await client.post(path, json={"grace_seconds": 0}, headers=root.headers)
    assert at_once.json()["previous_secret_until"] is None
    stored = await accounts.scalar("SELECT previous_secret FROM webhooks WHERE id = :id", id=made["id"])
    assert stored is None
    for wrong in (-1, 7 * 24 * 3600 + 1):
        assert_problem(
            await client.post(path, json={"grace_seconds": wrong}, headers=root.headers), 422, "invalid-request"
        )


async def test_there_are_at_most_so_many(client: httpx.AsyncClient, accounts: Accounts, app: FastAPI) -> None:
    root = await accounts.add_admin()
    with configured(app, webhook_limit=2):
        for _ in range(2):
            await make(client, root)
        response = await client.post("/webhooks", json={"url": URL}, headers=root.headers)
        assert_problem(response, 409, "too-many-webhooks")


async def test_the_list_has_pages(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    ids = [(await make(client, root))["id"] for _ in range(5)]
    found, cursor = [], None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await client.get("/webhooks", params=query, headers=root.headers)).json()
        found += [item["id"] for item in page["items"]]
        if (cursor := page["next"]) is None:
            break
    assert found == ids[::-1]
    other = (await client.get("/audit", params={"limit": 1}, headers=root.headers)).json()["next"]
    assert_problem(await client.get("/webhooks", params={"cursor": other}, headers=root.headers), 422, "invalid-cursor")


async def test_the_deliveries_that_failed_are_listed(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    made = await make(client, root)
    for seq, account_id, state in ((11, 3, "dead"), (12, 3, "pending"), (13, 0, "pending")):
        await accounts.execute(
            """INSERT INTO webhook_deliveries (webhook_id, seq, account_id, event_type, state, attempts, last_error,
                give_up_at, due_at, settled_at)
            VALUES (:id, :seq, :account_id, 'account.renamed', :state, 4, '500 Internal Server Error', now(),
                CASE WHEN :state = 'pending' THEN now() END, CASE WHEN :state = 'dead' THEN now() END)""",
            id=made["id"],
            seq=seq,
            account_id=account_id,
            state=state,
        )
    path = f"/webhooks/{made['id']}/deliveries"
    first = (await client.get(path, params={"limit": 2}, headers=root.headers)).json()
    assert [item["seq"] for item in first["items"]] == [13, 12]
    rest = (await client.get(path, params={"limit": 2, "cursor": first["next"]}, headers=root.headers)).json()
    assert rest["next"] is None
    (dead,) = rest["items"]
    expected = {
        "seq": 11,
        "message_id": "evt_11",
        "account_id": 3,
        "state": "dead",
        "attempts": 4,
        "last_error": "500 Internal Server Error",
        "due_at": None,
    }
    assert expected.items() <= dead.items()
    assert first["items"][0]["account_id"] is None
    only = (await client.get(path, params={"state": "dead"}, headers=root.headers)).json()
    assert [item["seq"] for item in only["items"]] == [11]
    shown = (await client.get(f"/webhooks/{made['id']}", headers=root.headers)).json()
    assert (shown["pending"], shown["dead"]) == (2, 1)
    # The cursor of one list is none of another.
    crossed = await client.get(path, params={"state": "dead", "cursor": first["next"]}, headers=root.headers)
    assert_problem(crossed, 422, "invalid-cursor")


@pytest.mark.parametrize(
    "wrong", [{}, {"since": None}, {"after_seq": -1}, {"after_seq": "1"}, {"since": "yesterday"}, {"since": 0}]
)
async def test_a_replay_needs_one_place(
    client: httpx.AsyncClient, accounts: Accounts, wrong: dict[str, object]
) -> None:
    root = await accounts.add_admin()
    path = f"/webhooks/{(await make(client, root))['id']}/replay"
    assert_problem(await client.post(path, json=wrong, headers=root.headers), 422, "invalid-request")
    both = {"since": "2026-01-01T00:00:00Z", "after_seq": 1}
    assert_problem(await client.post(path, json=both, headers=root.headers), 422, "invalid-request")
    started = await client.post(path, json={"since": "2026-01-01T00:00:00Z"}, headers=root.headers)
    assert started.status_code == 202
    assert started.json().keys() == {"after_seq", "last_seq", "state"}
