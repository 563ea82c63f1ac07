"""What the events together make invalid, and for how long."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from auth_support import Accounts
from kpi_auth.events import repository
from kpi_auth.events.models import Event, EventType
from kpi_auth.events.payloads import AccountState, ApiKeyActivated, ApiKeyEnded, KeyKilled, Payload, SessionEnded
from kpi_auth.events.relay import Relay
from kpi_auth.events.revocations import PASSING_TYPES, fold
from kpi_auth.internal import create_internal_app
from kpi_shared.caller import Role
from kpi_shared.database import Database
from kpi_shared.testing.client import client_of
from sqlalchemy import text

LIFETIME = 1000.0


def event(event_type: EventType, data: Payload, *, age: float = 0.0) -> Event:
    return Event(1, event_type, 1, None, datetime.now(UTC), data.model_dump(mode="json"), age)


def state(user_id: int, version: int) -> AccountState:
    return AccountState(id=user_id, username="anna", role=Role.USER, is_active=True, is_deleted=False, version=version)


def folded(*events: Event) -> list[tuple[Any, ...]]:
    return [tuple(revocation.values()) for revocation in fold(events, lifetime=LIFETIME)]


def test_of_several_events_about_an_account_the_last_counts() -> None:
    events = [
        event(EventType.ACCOUNT_RENAMED, state(7, 2), age=50),
        event(EventType.ACCOUNT_RENAMED, state(8, 5), age=40),
        event(EventType.ACCOUNT_ROLE_CHANGED, state(7, 3), age=30),
    ]
    assert folded(*events) == [("account", 8, 5, 960.0), ("account", 7, 3, 970.0)]


def test_a_new_account_has_no_older_tokens() -> None:
    assert folded(event(EventType.ACCOUNT_CREATED, state(7, 1))) == []


def test_a_key_that_is_activated_again_is_no_longer_refused() -> None:
    ended = event(EventType.API_KEY_ENDED, ApiKeyEnded(api_key_id=5, reason="inactive"), age=20)
    activated = event(EventType.API_KEY_ACTIVATED, ApiKeyActivated(api_key_id=5), age=10)
    assert folded(ended) == [("session", "key-5", 980.0)]
    assert folded(ended, activated) == []
    assert folded(ended, activated, ended) == [("session", "key-5", 980.0)]


def test_a_killed_key_is_refused_for_ever() -> None:
    assert folded(event(EventType.KEY_KILLED, KeyKilled(kid="k4.lid.x"), age=1e9)) == [("kid", "k4.lid.x", None)]


def test_every_type_but_two_is_a_revocation_or_ends_one() -> None:
    assert set(EventType) - set(PASSING_TYPES) == {EventType.ACCOUNT_CREATED, EventType.KEY_KILLED}


async def put(database: Database, event_type: EventType, data: Payload, *, age: float = 0.0) -> None:
    async with database.writing() as connection:
        await repository.put(connection, event_type, data)
        values = {"age": timedelta(seconds=age)}
        await connection.execute(
            text("UPDATE events SET occurred_at = occurred_at - :age WHERE id = (SELECT max(id) FROM events)"), values
        )


async def test_the_snapshot_has_what_is_numbered_and_still_matters(database: Database) -> None:
    await put(database, EventType.KEY_KILLED, KeyKilled(kid="k4.lid.x"), age=1e6)
    await put(database, EventType.SESSION_ENDED, SessionEnded(session_id=1, reason="logout"), age=LIFETIME + 1)
    await put(database, EventType.SESSION_ENDED, SessionEnded(session_id=2, reason="logout"), age=LIFETIME - 60)
    await Relay(database).step()
    await put(database, EventType.SESSION_ENDED, SessionEnded(session_id=3, reason="logout"))
    async with database.reading() as connection:
        lifetime = timedelta(seconds=LIFETIME)
        seq, events = await repository.get_recent(connection, types=PASSING_TYPES, lifetime=lifetime)
        assert seq == (await repository.get_ends(connection)).last
    found = fold(events, lifetime=LIFETIME)
    assert [(each["kind"], each["id"]) for each in found] == [("kid", "k4.lid.x"), ("session", "2")]
    assert 0 < found[1]["seconds"] <= 60


async def test_an_empty_snapshot_has_a_place(database: Database) -> None:
    async with database.reading() as connection:
        lifetime = timedelta(seconds=LIFETIME)
        assert await repository.get_recent(connection, types=PASSING_TYPES, lifetime=lifetime) == (0, [])


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
