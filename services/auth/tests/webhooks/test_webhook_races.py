"""Changes of webhooks on real, parallel connections."""

import asyncio

import httpx
import pytest
from auth_support import Accounts
from fastapi import FastAPI
from kpi_auth.webhooks import repository
from kpi_shared.caller import Role
from sqlalchemy import text

URL = "https://hooks.example.com/"
_WAITING = text("""
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
""")
# What each does, and how the admin loses the right meanwhile.
_REQUESTS: list[tuple[str, str, dict[str, object] | None]] = [
    ("POST", "", {"url": URL}),
    ("PATCH", "/{id}", {"is_active": False}),
    ("DELETE", "/{id}", None),
    ("POST", "/{id}/rotate-secret", {"grace_seconds": 0}),
    ("POST", "/{id}/replay", {"after_seq": 0}),
]
_LOSSES = [
    (403, "UPDATE users SET role = 'user' WHERE id = :id"),
    (401, "UPDATE sessions SET ended_at = now(), end_reason = 'logout' WHERE user_id = :id"),
]


@pytest.mark.parametrize(("status", "loss"), _LOSSES)
@pytest.mark.parametrize("sent", _REQUESTS)
async def test_a_request_in_flight_of_a_former_admin_changes_nothing(
    running_app: FastAPI,
    shared_client: httpx.AsyncClient,
    sent: tuple[str, str, dict[str, object] | None],
    status: int,
    loss: str,
) -> None:
    """The request was admitted before, and waits for a lock."""
    method, path, body = sent
    shared = Accounts(running_app, shared_client)
    root = await shared.add("root", role=Role.ADMIN)
    made = (await shared_client.post("/webhooks", json={"url": URL}, headers=root.headers)).json()
    state = "SELECT array_agg(version) FROM webhooks"
    before = await shared.scalar(state)
    target = f"/webhooks{path.format(id=made['id'])}"
    async with running_app.state.database.writing() as connection:
        await repository.lock_adding(connection)
        await repository.lock(connection, webhook_id=made["id"])
        waits = asyncio.create_task(shared_client.request(method, target, json=body, headers=root.headers))
        async with asyncio.timeout(20):
            while not await connection.scalar(_WAITING):
                await asyncio.sleep(0.01)
                await connection.execute(text("SELECT pg_stat_clear_snapshot()"))
        await connection.execute(text(loss), {"id": root.id})
    assert (await waits).status_code == status
    assert await shared.scalar(state) == before
