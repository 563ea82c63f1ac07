"""The filters by key and by time: what they find, and that each reads a page from an index."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from audit_support import Trail
from auth_support import Account, Accounts
from fastapi import FastAPI
from key_support import Key, Keys
from kpi_auth.audit.filters import AuditFilter
from kpi_auth.audit.repository import build_page
from sqlalchemy.dialects.postgresql.psycopg import dialect

NOW = datetime.now(UTC)
_ADD = "INSERT INTO audit_events (event, at, key_id) VALUES ('user.changed', :at, :key_id)"
_ADD_MANY = """
    INSERT INTO audit_events (event, at, key_id) SELECT 'e', now() - (20000 - n) * interval '1 second', mod(n, 100)
    FROM generate_series(1, 20000) AS n
"""
LIMIT = 20


async def list_all(client: httpx.AsyncClient, admin: Account, **params: object) -> list[dict[str, Any]]:
    """All pages of two records."""
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 2, "event": "user.changed", **params}
    while True:
        response = await client.get("/audit", headers=admin.headers, params=query)
        assert response.status_code == 200, response.text
        found += response.json()["items"]
        if response.json()["next"] is None:
            return found
        query["cursor"] = response.json()["next"]


def at(minutes: float) -> str:
    return (NOW + timedelta(minutes=minutes)).isoformat()


async def test_records_are_found_by_key_and_by_time(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    for minutes in (5, 3, 4, 1, 2, 0):
        await accounts.execute(_ADD, at=NOW + timedelta(minutes=minutes), key_id=7 if minutes % 2 else 8)
    keys = [entry["key_id"] for entry in await list_all(client, root, key_id=7)]
    assert keys == [7, 7, 7]
    assert await list_all(client, root, key_id=9) == []

    async def minutes_of(**params: object) -> list[int]:
        entries = await list_all(client, root, **params)
        return [round((datetime.fromisoformat(entry["at"]) - NOW).total_seconds() / 60) for entry in entries]

    # Newest first: by their times where the time is limited, since a record with a higher id can be a little older.
    assert await minutes_of(since=at(2)) == [5, 4, 3, 2]
    assert await minutes_of(until=at(2)) == [1, 0]
    assert await minutes_of(since=at(1), until=at(5)) == [4, 3, 2, 1]
    assert await minutes_of(since=at(1), until=at(5), key_id=7) == [3, 1]
    assert await minutes_of(since=at(6)) == []
    assert await minutes_of(key_id=7) == [1, 3, 5]


async def test_a_record_has_the_key_that_it_is_about_or_else_that_of_the_request(
    app: FastAPI, client: httpx.AsyncClient, accounts: Accounts
) -> None:
    root, keys = await accounts.add_admin(), Keys(app, client)
    anna = await accounts.add("anna")
    first, other = await keys.add(root, "admin"), await keys.add(root, "read")
    headers = await keys.headers(first)
    assert (await client.patch(f"/users/{anna.id}", json={"bio": "by key"}, headers=headers)).status_code == 200
    assert (await client.post(f"/api-keys/{other.id}/deactivate", headers=headers)).status_code == 200
    assert (await client.patch(f"/users/{anna.id}", json={"bio": "by hand"}, headers=root.headers)).status_code == 200

    async def events(key: Key) -> list[str]:
        response = await client.get("/audit", params={"key_id": key.id}, headers=headers)
        return [entry["event"] for entry in response.json()["items"]]

    assert await events(first) == ["user.changed", "api_key.created"]
    assert await events(other) == ["api_key.deactivated", "api_key.created"]


async def plan_of(trail: Trail, *, before: tuple[Any, ...] | None = None, **values: object) -> list[dict[str, Any]]:
    statement, given = build_page(AuditFilter(values), before=before, limit=LIMIT)
    compiled = statement.compile(dialect=dialect())
    async with trail.database.reading() as connection:
        explained = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {compiled}"
        result = await connection.exec_driver_sql(explained, compiled.construct_params(given))
        return nodes(result.scalar_one()[0]["Plan"])


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


def rows_read(plan: list[dict[str, Any]]) -> float:
    scans = [node for node in plan if node.get("Relation Name") == "audit_events"]
    return sum(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) for node in scans)


@pytest.mark.parametrize("is_chained", [False, True])
async def test_a_filtered_page_is_read_from_its_index_at_any_depth(trail: Trail, is_chained: bool) -> None:
    """Records of one per second, of which each key has made one in a hundred."""
    async with trail.owner() as owner:
        await owner.run(
            _ADD_MANY,
            "UPDATE audit_events SET seq = id, hash = '\\x00'" if is_chained else "SELECT 1",
            "ANALYZE audit_events",
        )
    now: datetime = (await trail.rows("SELECT max(at) AS at FROM audit_events"))[0].at
    hour = timedelta(hours=1)
    lists: list[tuple[str, tuple[Any, ...] | None, dict[str, object]]] = [
        ("ix_audit_events_key_id", None, {"key_id": 7}),
        ("ix_audit_events_key_id", (5000,), {"key_id": 7}),
        ("ix_audit_events_at", None, {"since": now - 2 * hour}),
        ("ix_audit_events_at", None, {"until": now - 2 * hour}),
        ("ix_audit_events_at", (now - 4 * hour, 5000), {"until": now - 2 * hour}),
        ("ix_audit_events_at", (now - 4 * hour, 5000), {"since": now - 5 * hour, "until": now - 3 * hour}),
        ("pk_audit_events", (5000,), {}),
    ]
    for index, before, values in lists:
        plan = await plan_of(trail, before=before, **values)
        assert index in {node.get("Index Name") for node in plan}, (values, plan)
        assert 0 < rows_read(plan) <= LIMIT, (values, plan)
