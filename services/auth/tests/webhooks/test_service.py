"""A running service sends what happens in it."""

import asyncio
import json
import secrets
import time
from pathlib import Path

import httpx
from kpi_auth.settings import AuthSettings
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import free_port, run_command, start_part
from pydantic import SecretStr
from webhook_support import Receiver, receiving, verify

PASSWORD = "a quiet red bicycle"


def act(address: str, url: str, metrics_port: int) -> tuple[str, int, str]:
    """Make a webhook and a change that it reports; returns its secret, the id of the account, and the metrics."""
    with httpx.Client(base_url=address, timeout=30, trust_env=False) as client:
        signed_in = client.post("/auth/login", json={"username": "root", "password": PASSWORD})
        headers = {"Authorization": f"Bearer {signed_in.json()['access_token']}"}
        made = client.post("/webhooks/", json={"url": url, "event_types": ["account.*"]}, headers=headers)
        assert made.status_code == 201, made.text
        ben = client.post("/users", json={"username": "ben", "email": "ben@example.com", "password": PASSWORD}).json()
        changed = client.patch(f"/users/{ben['id']}", json={"role": "admin"}, headers=headers)
        assert changed.status_code == 200, changed.text
        deadline = time.monotonic() + 60
        while (shown := client.get(f"/webhooks/{made.json()['id']}", headers=headers).json())["delivered_at"] is None:
            assert time.monotonic() < deadline, shown
            time.sleep(0.05)
        metrics = client.get(f"http://127.0.0.1:{metrics_port}/metrics").text
    return made.json()["secret"], ben["id"], metrics


async def test_a_change_arrives_signed(worker: str, secret_key: str, tmp_path: Path) -> None:
    settings = AuthSettings(
        database_url=SecretStr(create_migrated_database("kpi_auth", f"webhook_service_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
    )
    metrics_port = free_port()
    environment = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "PASETO_SECRET_KEY": secret_key,
        "AUTH_SECRET_KEY": secrets.token_hex(32),
        "WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "METRICS_PORT": str(metrics_port),
        "ARGON2_MEMORY_KIB": "64",
    }
    root = {"username": "root", "password": PASSWORD, "role": "admin"}
    await asyncio.to_thread(run_command, "kpi_auth", "create-user", settings=environment, given=json.dumps(root))
    async with receiving(Receiver()) as receiver:
        launch = start_part("kpi_auth", environment, log=tmp_path / "auth.log")
        address = await asyncio.to_thread(launch.__enter__)
        try:
            secret, user_id, metrics = await asyncio.to_thread(
                act, address, f"{receiver.url}?key=of-the-receiver", metrics_port
            )
            async with asyncio.timeout(60):
                while len(receiver.messages) < 2:  # noqa: ASYNC110 another process's effects
                    await asyncio.sleep(0.02)
        finally:
            await asyncio.to_thread(launch.__exit__, None, None, None)
    assert [message.event["type"] for message in receiver.messages] == ["account.created", "account.role_changed"]
    assert {message.account_id for message in receiver.messages} == {user_id}
    assert receiver.messages[-1].event["data"]["role"] == "admin"
    assert all(verify(message.body, message.fields, secret=secret) for message in receiver.messages)
    for name in ("attempts_total", "sending", "waiting", "oldest_seconds"):
        assert f"kpi_auth_webhook_{name}" in metrics
    log = (tmp_path / "auth.log").read_text()
    assert secret not in log
    assert f"http://127.0.0.1:{receiver.port}" in log
    assert "of-the-receiver" not in log
