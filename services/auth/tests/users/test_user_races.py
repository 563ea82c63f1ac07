"""Changes of users on real, parallel connections."""

import asyncio
import itertools
from dataclasses import replace

import httpx
import pytest
from auth_support import PASSWORD, Account, Accounts, registration
from fastapi import FastAPI
from kpi_auth.accounts.write_repository import guard_admins
from kpi_shared.caller import Role
from sqlalchemy import text

_WAITING = text("""
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
""")


@pytest.fixture
def shared(running_app: FastAPI, shared_client: httpx.AsyncClient) -> Accounts:
    return Accounts(running_app, shared_client)


async def test_only_one_of_parallel_changes_of_a_version_succeeds(
    shared_client: httpx.AsyncClient, shared: Accounts
) -> None:
    anna = await shared.add("anna")
    headers = anna.headers | {"If-Match": f'"1-a{anna.id}"'}
    responses = await asyncio.gather(
        *[shared_client.patch(f"/users/{anna.id}", json={"bio": f"{n}"}, headers=headers) for n in range(20)]
    )
    assert sorted(response.status_code for response in responses) == [200] + [412] * 19
    assert await shared.scalar("SELECT version FROM users WHERE id = :id", id=anna.id) == 2


async def test_only_one_of_parallel_changes_to_a_name_succeeds(
    shared_client: httpx.AsyncClient, shared: Accounts
) -> None:
    people = [await shared.add(f"person{n}") for n in range(8)]
    names = itertools.cycle(["Wanted", "wanted"])
    responses = await asyncio.gather(
        *[
            shared_client.patch(f"/users/{one.id}", json={"username": name}, headers=one.headers)
            for one, name in zip(people, names, strict=False)
        ]
    )
    assert sorted(response.status_code for response in responses) == [200] + [409] * 7
    assert {response.json()["type"] for response in responses if response.status_code == 409} == {"username-taken"}


@pytest.mark.parametrize("way", ["demote", "deactivate", "delete"])
async def test_admins_who_remove_each_other_leave_one_admin(
    shared_client: httpx.AsyncClient, shared: Accounts, way: str
) -> None:
    admins = [await shared.add(f"admin{n}", role=Role.ADMIN) for n in range(4)]

    async def remove(by: Account, of: Account) -> int:
        url = f"/users/{of.id}"
        if way == "delete":
            response = await shared_client.request("DELETE", url, json={"password": PASSWORD}, headers=by.headers)
        else:
            body = {"role": "user"} if way == "demote" else {"is_active": False}
            response = await shared_client.patch(url, json=body, headers=by.headers)
        return response.status_code

    for _ in range(5):
        statuses = await asyncio.gather(*[remove(*pair) for pair in itertools.product(admins, admins)])
        # 401 and 403: the caller was removed before the request; 404: the user was deleted before it.
        assert set(statuses) <= {200, 204, 401, 403, 404, 409}, statuses
        left = await shared.scalar(
            "SELECT count(*) FROM users WHERE role = 'admin' AND is_active AND deleted_at IS NULL"
        )
        assert left == 1
        await shared.execute("UPDATE users SET role = 'admin', is_active = true, deleted_at = NULL")
        admins = [replace(await shared.enter(f"admin{n}"), id=admin.id) for n, admin in enumerate(admins)]


async def test_two_admins_who_demote_each_other_at_once_leave_one_admin(
    running_app: FastAPI, shared_client: httpx.AsyncClient, shared: Accounts
) -> None:
    """Both requests are admitted while there are two admins; the guard is held until both wait for it."""
    admins = [await shared.add(f"admin{n}", role=Role.ADMIN) for n in range(2)]
    database = running_app.state.database
    async with database.writing() as connection:
        await connection.execute(text("SELECT id FROM users FOR NO KEY UPDATE"))
        requests = [
            asyncio.create_task(shared_client.patch(f"/users/{other.id}", json={"role": "user"}, headers=own.headers))
            for own, other in itertools.permutations(admins)
        ]
        async with asyncio.timeout(20):
            while await connection.scalar(_WAITING) < 2:
                await asyncio.sleep(0.01)
                await connection.execute(text("SELECT pg_stat_clear_snapshot()"))
    responses = await asyncio.gather(*requests)
    # The admin who was demoted first has no session any more, so the second request is refused.
    assert sorted(response.status_code for response in responses) == [200, 401]
    assert await shared.scalar("SELECT count(*) FROM users WHERE role = 'admin'") == 1


@pytest.mark.parametrize("request_in_flight", ["promotion", "new admin", "deletion"])
async def test_a_request_in_flight_of_a_demoted_admin_changes_nothing(
    running_app: FastAPI, shared_client: httpx.AsyncClient, shared: Accounts, request_in_flight: str
) -> None:
    """The request was admitted before the demotion, and waits for its lock."""
    admins = [await shared.add(f"admin{n}", role=Role.ADMIN) for n in range(2)]
    first, other = admins
    body: dict[str, object] = {**registration("late"), "role": "admin"}
    method, path, sent = {
        "promotion": ("PATCH", f"/users/{first.id}", {"role": "admin"}),
        "new admin": ("POST", "/users", body),
        "deletion": ("DELETE", f"/users/{other.id}", None),
    }[request_in_flight]
    async with running_app.state.database.writing() as connection:
        await guard_admins(connection)
        waits = asyncio.create_task(shared_client.request(method, path, json=sent, headers=first.headers))
        async with asyncio.timeout(20):
            while not await connection.scalar(_WAITING):
                await asyncio.sleep(0.01)
                await connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        await connection.execute(text("UPDATE users SET role = 'user' WHERE id = :id"), {"id": first.id})
    assert (await waits).status_code == 403
    assert await shared.scalar("SELECT count(*) FROM users WHERE role = 'admin' AND is_active") == 1


async def test_sign_ins_and_changes_of_state_never_deadlock(shared_client: httpx.AsyncClient, shared: Accounts) -> None:
    root = await shared.add("root", role=Role.ADMIN)
    people = [await shared.add(f"person{n}") for n in range(3)]

    async def sign_in(n: int) -> int:
        body = {"username": f"person{n}", "password": PASSWORD}
        return (await shared_client.post("/auth/login", json=body)).status_code

    async def set_state(of: Account, body: dict[str, object]) -> int:
        return (await shared_client.patch(f"/users/{of.id}", json=body, headers=root.headers)).status_code

    async def refresh(of: Account) -> int:
        return (await shared_client.post("/auth/refresh", json={"refresh_token": of.refresh_token})).status_code

    states = itertools.cycle([{"is_active": False}, {"is_active": True}, {"role": "admin"}, {"role": "user"}])
    work = []
    for turn in range(16):
        state = next(states)
        work += [sign_in(turn % 3), set_state(people[turn % 3], state), refresh(people[turn % 3])]
    statuses = await asyncio.gather(*work)
    # A deadlock would be a 503.
    assert set(statuses) <= {200, 401}, statuses


async def test_a_deletion_with_parallel_sign_ins_leaves_no_session(
    shared_client: httpx.AsyncClient, shared: Accounts
) -> None:
    anna = await shared.add("anna")
    url = f"/users/{anna.id}"
    sign_ins = [shared.sign_in("anna", PASSWORD) for _ in range(8)]
    deletion = shared_client.request("DELETE", url, json={"password": PASSWORD}, headers=anna.headers)
    response, *_ = await asyncio.gather(deletion, *sign_ins)
    assert response.status_code == 204
    living = await shared.scalar("SELECT count(*) FROM sessions WHERE user_id = :id AND ended_at IS NULL", id=anna.id)
    assert living == 0
