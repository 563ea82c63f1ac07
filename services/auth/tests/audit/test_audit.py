"""The audit trail: permanent, and readable by admins."""

import httpx
import pytest
from auth_support import PASSWORD, Accounts
from sqlalchemy.exc import DBAPIError


async def test_an_admin_reads_who_did_what_to_whom_from_where(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root, anna = await accounts.add_admin(), await accounts.add("anna")
    headers = {"User-Agent": "Phone/1", "X-Forwarded-For": "198.51.100.7", "X-Request-ID": "seen-in-the-log"}
    body = {"username": "anna", "password": "wrong password"}
    assert (await client.post("/auth/login", json=body, headers=headers)).status_code == 401
    response = await client.get(
        "/audit", headers=root.headers, params={"event": "session.refused", "subject_id": anna.id}
    )
    assert response.status_code == 200, response.text
    assert response.headers["cache-control"] == "no-store"
    [entry] = response.json()["items"]
    assert {**entry, "id": 0, "at": ""} == {
        "id": 0,
        "at": "",
        "event": "session.refused",
        "actor_id": None,
        "subject_id": anna.id,
        "key_id": None,
        "address": "198.51.100.7",
        "user_agent": "Phone/1",
        "request_id": "seen-in-the-log",
        "details": {"reason": "wrong-password"},
        "seq": None,
    }


async def test_a_record_contains_no_control_characters(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root, anna = await accounts.add_admin(), await accounts.add("anna")
    sent = {"User-Agent": b"Phone\x1b[2J\x07/1\x85"}
    body = {"username": "anna", "password": "wrong password"}
    await client.post("/auth/login", json=body, headers=sent)
    params: dict[str, str | int] = {"event": "session.refused", "subject_id": anna.id}
    [entry] = (await client.get("/audit", headers=root.headers, params=params)).json()["items"]
    assert entry["user_agent"] == "Phone[2J/1"


async def test_records_are_for_admins(client: httpx.AsyncClient, accounts: Accounts) -> None:
    anna = await accounts.add("anna")
    assert (await client.get("/audit", headers=anna.headers)).status_code == 403


async def test_pages_show_each_record_once_and_filters_narrow(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root, anna = await accounts.add_admin(), await accounts.add("anna")
    for _ in range(7):
        await accounts.sign_in("anna", PASSWORD)

    async def ids(**params: str | int) -> list[int]:
        found: list[int] = []
        query: dict[str, str | int] = {"limit": 3, **params}
        while True:
            page = (await client.get("/audit", headers=root.headers, params=query)).json()
            found += [entry["id"] for entry in page["items"]]
            if page["next"] is None:
                return found
            query["cursor"] = page["next"]

    everything = await ids()
    assert len(set(everything)) == len(everything)
    assert everything == sorted(everything, reverse=True)
    assert len(await ids(subject_id=anna.id, event="session.started")) == 8
    # The registration in addition.
    assert len(await ids(actor_id=anna.id)) == 9
    assert await ids(until="2001-01-01T00:00:00Z") == []
    assert await ids(since="2001-01-01T00:00:00Z") == everything
    assert await ids(address="192.0.2.99") == []


async def test_a_cursor_is_valid_for_its_own_list_only(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root, _ = await accounts.add_admin(), await accounts.add("anna")
    page = (await client.get("/audit", headers=root.headers, params={"limit": 1})).json()
    for params in ({"event": "session.started"}, {"actor_id": "1"}):
        response = await client.get("/audit", headers=root.headers, params={"cursor": page["next"], **params})
        assert (response.status_code, response.json()["type"]) == (422, "invalid-cursor")


async def test_an_address_is_found_in_each_of_its_forms(client: httpx.AsyncClient, accounts: Accounts) -> None:
    root = await accounts.add_admin()
    for number, address in enumerate(("192.0.2.7", "2001:db8::7")):
        await accounts.execute(
            "INSERT INTO audit_events (event, address, actor_id) VALUES ('user.changed', :address, :number)",
            address=address,
            number=number,
        )
    forms = ["192.0.2.7", "::ffff:192.0.2.7", "::ffff:c000:207", "2001:db8::7", "2001:DB8:0::0007"]
    for form, number in zip(forms, [0, 0, 0, 1, 1], strict=True):
        page = (await client.get("/audit", headers=root.headers, params={"address": form})).json()
        assert [entry["actor_id"] for entry in page["items"]] == [number], form


async def test_a_time_that_only_the_owner_can_write_is_no_failure(
    client: httpx.AsyncClient, accounts: Accounts
) -> None:
    root = await accounts.add_admin()
    times = ("2026-01-01 BC", "infinity", "-infinity", "12026-01-01")
    for at in times:
        await accounts.execute(
            "INSERT INTO audit_events (event, at) VALUES ('user.changed', CAST(:at AS timestamptz))", at=at
        )
    for headers in (root.headers, root.headers | {"Accept": "application/x-ndjson"}):
        params = {"event": "user.changed"}
        response = await client.get("/audit", headers=headers, params=params)
        assert response.status_code == 200
        assert response.text.count('"at"') == len(times)
        assert response.text.count("0001-01-02") == response.text.count("9999-12-30") == 2
        by_time = {**params, "until": "9999-12-31T00:00:00Z"}
        assert (await client.get("/audit", headers=headers, params=by_time)).text.count('"at"') == 0


@pytest.mark.parametrize(
    "params",
    [
        {"limit": "0"},
        {"limit": "101"},
        {"event": "nothing"},
        {"actor_id": "0"},
        {"actor_id": str(2**63)},
        {"key_id": "0"},
        {"key_id": "kpi_live_1"},
        {"address": "here"},
        {"since": "yesterday"},
        {"since": "1700000000"},
        {"until": "0.5"},
        {"since": "2026-01-01T00:00:00"},
        {"cursor": "A" * 32},
        {"cursor": "x"},
        {"unknown": "1"},
    ],
)
async def test_an_invalid_query_is_refused(
    client: httpx.AsyncClient, accounts: Accounts, params: dict[str, str]
) -> None:
    root = await accounts.add_admin()
    assert (await client.get("/audit", headers=root.headers, params=params)).status_code == 422


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_events SET actor_id = 1", "DELETE FROM audit_events", "TRUNCATE audit_events"]
)
async def test_a_record_is_never_changed(accounts: Accounts, statement: str) -> None:
    await accounts.add("anna")
    with pytest.raises(DBAPIError, match="only ever added"):
        await accounts.execute(statement)
