"""What the events together make invalid, and for how long."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from auth_support import Accounts
from kpi_auth.events import repository
from kpi_auth.events.feed import Feed
from kpi_auth.events.models import EventType
from kpi_auth.events.payloads import (
    AccountState,
    ApiKeyActivated,
    ApiKeyEnded,
    KeyKilled,
    Payload,
    SessionEnded,
    SessionsEnded,
)
from kpi_auth.events.relay import Relay
from kpi_auth.events.revocations import PASSING_TYPES
from kpi_auth.internal import create_internal_app
from kpi_shared.caller import Role
from kpi_shared.database import Database
from kpi_shared.testing.client import client_of
from sqlalchemy import text

LIFETIME = 1000.0


def state(user_id: int, version: int) -> AccountState:
    return AccountState(id=user_id, username="anna", role=Role.USER, is_active=True, is_deleted=False, version=version)


async def put(database: Database, event_type: EventType, data: Payload, *, age: float = 0.0) -> None:
    async with database.writing() as connection:
        await repository.put(connection, event_type, data)
        values = {"age": timedelta(seconds=age)}
        await connection.execute(
            text("UPDATE events SET occurred_at = occurred_at - :age WHERE id = (SELECT max(id) FROM events)"), values
        )


async def read(database: Database) -> tuple[int, list[dict[str, Any]]]:
    """Number what has no place, and read the snapshot."""
    while await Relay(database).step():
        pass
    found = await Feed(database).read_revocations(lifetime=timedelta(seconds=LIFETIME))
    return found.seq, json.loads(f"[{found.items}]")


async def read_ids(database: Database) -> set[tuple[str, str | int, int | None]]:
    _, found = await read(database)
    return {(each["kind"], each["id"], each.get("version")) for each in found}


async def test_of_several_events_about_an_account_the_last_counts(database: Database) -> None:
    await put(database, EventType.ACCOUNT_RENAMED, state(7, 2), age=50)
    await put(database, EventType.ACCOUNT_RENAMED, state(8, 5), age=40)
    await put(database, EventType.ACCOUNT_ROLE_CHANGED, state(7, 10), age=30)
    _, found = await read(database)
    by_id = {each["id"]: each for each in found}
    assert {key: each["version"] for key, each in by_id.items()} == {7: 10, 8: 5}
    assert 900 < by_id[8]["seconds"] <= 960 < by_id[7]["seconds"] <= 970


async def test_what_no_token_says_makes_none_invalid(database: Database) -> None:
    await put(database, EventType.ACCOUNT_CREATED, state(7, 1))
    await put(database, EventType.ACCOUNT_RENAMED, state(8, 2))
    await put(database, EventType.ACCOUNT_CHANGED, state(8, 3))
    assert await read_ids(database) == {("account", 8, 2)}


async def test_each_of_several_sessions_is_named(database: Database) -> None:
    await put(database, EventType.SESSIONS_ENDED, SessionsEnded(session_ids=[1, 12], reason="password"))
    await put(database, EventType.SESSION_ENDED, SessionEnded(session_id=5, reason="logout"))
    assert await read_ids(database) == {("session", "1", None), ("session", "12", None), ("session", "5", None)}


async def test_a_key_that_is_activated_again_is_no_longer_refused(database: Database) -> None:
    ended = ApiKeyEnded(api_key_id=5, reason="inactive")
    await put(database, EventType.API_KEY_ENDED, ended)
    assert await read_ids(database) == {("session", "key-5", None)}
    await put(database, EventType.API_KEY_ACTIVATED, ApiKeyActivated(api_key_id=5))
    assert await read_ids(database) == set()
    await put(database, EventType.API_KEY_ENDED, ended)
    await put(database, EventType.API_KEY_ENDED, ApiKeyEnded(api_key_id=51, reason="deleted"))
    assert await read_ids(database) == {("session", "key-5", None), ("session", "key-51", None)}


async def test_a_killed_key_is_refused_for_ever(database: Database) -> None:
    await put(database, EventType.KEY_KILLED, KeyKilled(kid='k4.lid."x'), age=1e6)
    seq, found = await read(database)
    assert seq > 0
    assert found == [{"kind": "kid", "id": 'k4.lid."x', "seconds": None}]


def test_every_other_type_is_a_revocation_or_ends_one() -> None:
    others = {EventType.ACCOUNT_CREATED, EventType.ACCOUNT_CHANGED, EventType.KEY_KILLED}
    assert set(EventType) - set(PASSING_TYPES) == others


async def test_the_snapshot_has_what_is_numbered_and_still_matters(database: Database) -> None:
    await put(database, EventType.SESSION_ENDED, SessionEnded(session_id=1, reason="logout"), age=LIFETIME + 1)
    await put(database, EventType.SESSION_ENDED, SessionEnded(session_id=2, reason="logout"), age=LIFETIME - 60)
    await Relay(database).step()
    await put(database, EventType.SESSION_ENDED, SessionEnded(session_id=3, reason="logout"))
    found = await Feed(database).read_revocations(lifetime=timedelta(seconds=LIFETIME))
    async with database.reading() as connection:
        assert found.seq == (await repository.get_ends(connection)).last
    (left,) = json.loads(f"[{found.items}]")
    assert left["id"] == "2"
    assert 0 < left["seconds"] <= 60


async def test_an_empty_snapshot_has_a_place(database: Database) -> None:
    assert await read(database) == (0, [])


async def get_accounts(accounts: Accounts, **query: int) -> httpx.Response:
    key = accounts.app.state.settings.feed_key.get_secret_value()
    async with client_of(create_internal_app(accounts.app)) as client:
        headers = {"Authorization": f"Bearer {key}"}
        return await client.get("/internal/feed/accounts", params=query, headers=headers)


async def test_pages_have_all_accounts_also_deleted_ones(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    others = [await accounts.add(name) for name in ("anna", "berta", "clara")]
    assert (await client.delete(f"/users/{others[1].id}", headers=root.headers)).status_code == 204
    items: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = (await get_accounts(accounts, after=after, limit=3)).json()
        items += page["items"]
        after = page["next"]
    assert [(item["username"], item["is_deleted"], item["version"]) for item in items] == [
        *(("root", False, 1), ("anna", False, 1), ("berta", True, 2), ("clara", False, 1))
    ]
    assert [AccountState.model_validate(item).model_dump(mode="json") for item in items] == items


@pytest.mark.parametrize("query", [{"after": -1}, {"limit": 0}, {"limit": 1001}, {"after": 2**63}])
async def test_bounds_of_a_page_of_accounts(accounts: Accounts, query: dict[str, int]) -> None:
    assert (await get_accounts(accounts, **query)).status_code == 422
