"""``GET /audit`` as NDJSON."""

import json
from typing import Any
from unittest.mock import AsyncMock

import httpx
import pytest
from audit_support import Trail
from auth_support import Accounts, assert_problem
from kpi_auth.audit.filters import AuditFilter
from kpi_auth.audit.responses import stream_lines

NDJSON = "application/x-ndjson"


def lines_of(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == NDJSON
    assert response.headers["cache-control"] == "no-store"
    return [json.loads(line) for line in response.text.splitlines()]


async def add(accounts: Accounts, number: int) -> None:
    await accounts.execute(
        "INSERT INTO audit_events (event, details) SELECT 'user.changed', jsonb_build_object('n', n)"
        " FROM generate_series(1, :number) AS n",
        number=number,
    )


async def test_an_export_has_all_records_and_each_line_is_an_entry_of_the_list(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    root = await accounts.add_admin()
    await add(accounts, 1001)
    headers = root.headers | {"Accept": NDJSON}
    lines = lines_of(await client.get("/audit", params={"event": "user.changed"}, headers=headers))
    assert [line["details"]["n"] for line in lines] == list(range(1001, 0, -1))
    page = (await client.get("/audit", params={"event": "user.changed"}, headers=root.headers)).json()
    assert lines[:10] == page["items"]
    rest = {"event": "user.changed", "cursor": page["next"]}
    assert lines_of(await client.get("/audit", params=rest, headers=headers)) == lines[10:]
    by_time = {"event": "user.changed", "since": "2001-01-01T00:00:00Z"}
    assert {line["id"] for line in lines_of(await client.get("/audit", params=by_time, headers=headers))} == {
        line["id"] for line in lines
    }


@pytest.mark.parametrize(("limit", "number"), [(1, 1), (100, 100)])
async def test_a_limit_is_observed(client: httpx.AsyncClient, accounts: Accounts, limit: int, number: int) -> None:
    root = await accounts.add_admin()
    await add(accounts, 300)
    response = await client.get("/audit", params={"limit": limit}, headers=root.headers | {"Accept": NDJSON})
    assert len(lines_of(response)) == number


async def test_no_matching_record_is_an_empty_export_and_head_reads_none(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    root = await accounts.add_admin()
    headers = root.headers | {"Accept": NDJSON}
    assert lines_of(await client.get("/audit", params={"until": "2001-01-01T00:00:00Z"}, headers=headers)) == []
    assert lines_of(await client.head("/audit", headers=headers)) == []


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        (NDJSON, NDJSON),
        ("application/json, application/x-ndjson", "application/json"),
        ("application/json;q=0.5, application/x-ndjson;q=0.6", NDJSON),
        ("application/x-ndjson, */*;q=0.1", NDJSON),
        ("application/json;q=0, */*", NDJSON),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("APPLICATION/X-NDJSON", NDJSON),
        ("application/x-ndjson;q=x", NDJSON),
    ],
)
async def test_accept_decides(
    client: httpx.AsyncClient, accounts: Accounts, accept: str | None, media_type: str
) -> None:
    root = await accounts.add_admin()
    headers = dict(root.headers)
    if accept is None:
        client.headers.pop("accept")
    else:
        headers["Accept"] = accept
    response = await client.get("/audit", headers=headers)
    assert (response.status_code, response.headers["content-type"]) == (200, media_type)
    assert "Accept" in response.headers["vary"].split(", ")


@pytest.mark.parametrize("accept", ["text/html", "text/csv, application/xml", "application/json;q=0", "*/*;q=0", "x"])
async def test_what_is_not_offered_is_not_acceptable(
    client: httpx.AsyncClient, accounts: Accounts, accept: str
) -> None:
    root = await accounts.add_admin()
    assert_problem(await client.get("/audit", headers=root.headers | {"Accept": accept}), 406, "not-acceptable")


async def test_an_export_is_for_admins(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    assert (await client.get("/audit", headers=anna.headers | {"Accept": NDJSON})).status_code == 403
    assert (await client.get("/audit", headers={"Accept": NDJSON})).status_code == 401


async def test_a_client_that_reads_slowly_or_leaves_holds_no_connection(trail: Trail) -> None:
    await trail.add(2000)
    reads = trail.database.queues["reads"]
    checks = AsyncMock()
    response = await stream_lines(trail.database, AuditFilter({}), before=None, most=None, check_reader=checks)
    chunks = response.body_iterator.__aiter__()
    sizes = []
    for _ in range(3):
        # The client receives this part; the next one is read when it has.
        sizes.append(len(bytes(await anext(chunks)).splitlines()))  # type: ignore[arg-type]
        assert reads.in_use == 0
    assert sizes == [250, 250, 250]
    assert checks.await_count == 2
    await chunks.aclose()  # type: ignore[attr-defined]
    assert reads.in_use == 0
