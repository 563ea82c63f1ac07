"""The first admin of an installation."""

import asyncio
from collections import Counter

import httpx
import pytest
from auth_support import PASSWORD, Accounts, assert_problem, configured
from fastapi import FastAPI
from key_support import Keys
from kpi_auth.bootstrap import service


class Log:
    """The codes that auth writes to its log."""

    def __init__(self) -> None:
        self.codes: list[str] = []

    def warning(self, _event: str, *, bootstrap_code: str) -> None:
        self.codes.append(bootstrap_code)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    found = Log()
    monkeypatch.setattr(service, "log", found)
    return found


async def announced_code(accounts: Accounts, log: Log) -> str | None:
    """The code that auth writes to its log, or None if it writes none."""
    before = len(log.codes)
    await service.announce_code(accounts.context)
    return log.codes[-1] if len(log.codes) > before else None


@pytest.fixture
async def code(accounts: Accounts, log: Log) -> str:
    # The running service announces one of its own at its start, perhaps between these two statements.
    async with asyncio.timeout(30):
        while True:
            await accounts.execute("DELETE FROM bootstrap_codes")
            found = await announced_code(accounts, log)
            if found is not None:
                return found
            await asyncio.sleep(0.02)


async def test_the_first_admin_and_a_master_key_are_shown_once(
    client: httpx.AsyncClient, accounts: Accounts, app: FastAPI, code: str
) -> None:
    response = await client.post("/bootstrap", json={"code": code, "username": "root"})
    assert response.status_code == 201, response.text
    assert response.headers["cache-control"] == "no-store"
    made = response.json()
    assert response.headers["location"] == f"/users/{made['user']['id']}"
    assert (made["user"]["username"], made["user"]["role"]) == ("root", "admin")
    token = await accounts.sign_in("root", made["user"]["password"])
    assert token is not None
    assert (await client.get("/audit", headers={"Authorization": f"Bearer {token}"})).status_code == 200
    exchanged = await Keys(app, client).exchange(made["api_key"]["key"])
    assert exchanged.json()["scopes"] == ["read", "write", "admin"]
    headers = {"Authorization": f"Bearer {exchanged.json()['access_token']}"}
    assert (await client.get("/audit", headers=headers)).status_code == 200
    events = await accounts.events(made["user"]["id"])
    assert events[:2] == ["installation.bootstrapped", "api_key.created"]
    again = await client.post("/bootstrap", json={"code": code, "username": "other"})
    assert_problem(again, 409, "already-bootstrapped")


async def test_a_given_password_is_not_returned_and_has_to_be_a_good_one(client: httpx.AsyncClient, code: str) -> None:
    weak = await client.post("/bootstrap", json={"code": code, "password": "administrator"})
    assert_problem(weak, 422, "invalid-request")
    made = await client.post("/bootstrap", json={"code": code, "password": PASSWORD, "email": "root@example.com"})
    assert made.status_code == 201, made.text
    assert made.json()["user"]["password"] is None
    assert PASSWORD not in made.text


async def test_only_the_code_of_the_log_is_accepted(client: httpx.AsyncClient, code: str) -> None:
    for body in ({}, {"code": None}, {"code": code[:-1]}, {"code": "x" * 43}):
        assert_problem(await client.post("/bootstrap", json=body), 403, "invalid-bootstrap-code")


async def test_a_code_is_valid_for_an_hour(client: httpx.AsyncClient, accounts: Accounts, code: str, log: Log) -> None:
    assert await announced_code(accounts, log) is None
    await accounts.execute("UPDATE bootstrap_codes SET created_at = now() - interval '1 hour'")
    assert_problem(await client.post("/bootstrap", json={"code": code}), 403, "invalid-bootstrap-code")
    new = await announced_code(accounts, log)
    assert new not in {None, code}
    assert (await client.post("/bootstrap", json={"code": new})).status_code == 201


async def test_with_an_admin_there_is_no_code(client: httpx.AsyncClient, accounts: Accounts, log: Log) -> None:
    assert (await client.get("/bootstrap")).json() == {"is_open": True}
    await accounts.add_admin()
    assert (await client.get("/bootstrap")).json() == {"is_open": False}
    assert await announced_code(accounts, log) is None
    assert_problem(await client.post("/bootstrap", json={}), 409, "already-bootstrapped")


async def test_a_refused_name_does_not_use_the_code_up(
    client: httpx.AsyncClient, accounts: Accounts, code: str
) -> None:
    await accounts.add("anna")
    taken = await client.post("/bootstrap", json={"code": code, "username": "anna"})
    assert_problem(taken, 409, "username-taken")
    assert (await client.post("/bootstrap", json={"code": code, "username": "root"})).status_code == 201


@pytest.mark.parametrize(
    ("allowed", "address", "status"),
    [
        (True, "127.0.0.1", 201),
        (True, "::1", 201),
        (True, "192.0.2.1", 403),
        (True, "192.0.2.1, 127.0.0.1", 403),
        (True, "unknown", 403),
        (True, "", 403),
        (False, "127.0.0.1", 403),
    ],
)
async def test_from_this_machine_no_code_is_needed_where_the_settings_say_so(
    client: httpx.AsyncClient, app: FastAPI, allowed: bool, address: str, status: int
) -> None:
    with configured(app, bootstrap_from_loopback=allowed):
        response = await client.post("/bootstrap", json={}, headers={"X-Forwarded-For": address})
    assert response.status_code == status, response.text


@pytest.mark.parametrize("field", ["Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode"])
async def test_a_browser_on_this_machine_needs_the_code(
    client: httpx.AsyncClient, app: FastAPI, code: str, field: str
) -> None:
    # A page of another site can reach this machine under a name of its own: its requests are "same-origin" then.
    headers = {"X-Forwarded-For": "127.0.0.1", field: "same-origin"}
    with configured(app, bootstrap_from_loopback=True):
        assert_problem(await client.post("/bootstrap", json={}, headers=headers), 403, "invalid-bootstrap-code")
        assert (await client.post("/bootstrap", json={"code": code}, headers=headers)).status_code == 201


async def test_of_a_hundred_parallel_tries_one_succeeds(
    shared_client: httpx.AsyncClient, running_app: FastAPI, log: Log
) -> None:
    accounts = Accounts(running_app, shared_client)
    await accounts.execute("DELETE FROM bootstrap_codes")
    code = await announced_code(accounts, log)
    tries = [
        shared_client.post("/bootstrap", json={"code": code, "username": f"root{number}"}) for number in range(100)
    ]
    statuses = Counter(response.status_code for response in await asyncio.gather(*tries))
    assert statuses == {201: 1, 409: 99}
    assert await accounts.scalar("SELECT count(*) FROM users WHERE role = 'admin'") == 1
    assert await accounts.scalar("SELECT count(*) FROM api_keys") == 1


async def test_of_several_replicas_one_announces_a_code(
    shared_client: httpx.AsyncClient, running_app: FastAPI, log: Log
) -> None:
    accounts = Accounts(running_app, shared_client)
    await accounts.execute("DELETE FROM bootstrap_codes")
    before = len(log.codes)
    await asyncio.gather(*(service.announce_code(accounts.context) for _ in range(5)))
    assert len(log.codes) == before + 1
