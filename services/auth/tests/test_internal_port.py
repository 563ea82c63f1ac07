"""The internal port of real processes: where the gateway exchanges API keys."""

import asyncio
import secrets
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg
import pytest
import uvicorn
from auth_support import PASSWORD, registration
from kpi_auth.app import create_app
from kpi_auth.settings import AuthSettings
from kpi_shared.testing.client import running
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import clean_environment, free_port, launch_part, wait_until
from pydantic import SecretStr


@pytest.fixture(scope="module")
def environment(worker: str, secret_key: str) -> dict[str, str]:
    return {
        "DATABASE_URL": create_migrated_database("kpi_auth", f"auth_internal_{worker}"),
        "PASETO_SECRET_KEY": secret_key,
        "AUTH_SECRET_KEY": secrets.token_hex(32),
        "INTERNAL_KEY": secrets.token_hex(32),
        "ARGON2_MEMORY_KIB": "64",
        "ARGON2_TIME_COST": "1",
    }


def create_key(address: str, username: str) -> str:
    assert httpx.post(f"{address}/users", json=registration(username)).status_code == 201
    tokens = httpx.post(f"{address}/auth/login", json={"username": username, "password": PASSWORD}).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    created = httpx.post(f"{address}/api-keys", json={"name": "x", "scopes": "read"}, headers=headers)
    assert created.status_code == 201, created.text
    return str(created.json()["key"])


@pytest.mark.parametrize("workers", [1, 2])
def test_it_is_separate_and_ends_with_the_process(environment: dict[str, str], workers: int, tmp_path: Path) -> None:
    port = free_port()
    settings = {**environment, "INTERNAL_PORT": str(port)}
    with launch_part("kpi_auth", settings, "--workers", str(workers), log=tmp_path / "auth.log") as auth:
        key = create_key(auth.address, f"anna{workers}")
        internal = f"http://127.0.0.1:{port}/internal/api-keys/exchange"
        headers = {"Authorization": f"Bearer {environment['INTERNAL_KEY']}", "X-Request-ID": "of-the-gateway"}
        # Each on a connection of its own, so that both workers respond.
        responses = [httpx.post(internal, json={"key": key}, headers=headers) for _ in range(8 * workers)]
        assert {response.status_code for response in responses} == {200}
        assert {response.headers["x-request-id"] for response in responses} == {"of-the-gateway"}
        assert httpx.post(internal, json={"key": key}).json()["type"] == "internal-key-required"
        # Without the key, nothing of the request is read.
        for body in (b"{", b"x" * 10_000_000):
            refused = httpx.post(internal, content=body, headers={"Content-Type": "application/json"})
            assert (refused.status_code, refused.json()["type"]) == (401, "internal-key-required")
        large = httpx.post(internal, content=b" " * (256 * 1024 + 1), headers=headers)
        assert large.status_code == 413
        for path in ("/users", "/health", "/docs", "/openapi.json", "/auth/me"):
            assert httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers).status_code == 404
        public = httpx.post(f"{auth.address}/internal/api-keys/exchange", json={"key": key}, headers=headers)
        assert public.status_code == 404
        auth.process.terminate()
        assert auth.process.wait(20) == 0
    wait_until(lambda: not is_listening(port))
    assert '"level": "error"' not in (tmp_path / "auth.log").read_text()


def test_its_requests_have_a_deadline(environment: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    settings = {**environment, "INTERNAL_PORT": str(port)}
    headers = {"Authorization": f"Bearer {environment['INTERNAL_KEY']}", "X-Request-Timeout": "300"}
    with launch_part("kpi_auth", settings, log=tmp_path / "auth.log") as auth:
        key = create_key(auth.address, "dora")
        with psycopg.connect(environment["DATABASE_URL"]) as connection:
            connection.execute("LOCK TABLE api_keys")
            sent = httpx.post(
                f"http://127.0.0.1:{port}/internal/api-keys/exchange", json={"key": key}, headers=headers, timeout=20
            )
    assert (sent.status_code, sent.json()["type"]) == (503, "deadline-exceeded")


def test_it_ends_while_the_other_port_finishes_its_requests(environment: dict[str, str], tmp_path: Path) -> None:
    port = free_port()
    settings = {**environment, "INTERNAL_PORT": str(port), "SHUTDOWN_SECONDS": "60"}
    head = b"POST /auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
    with launch_part("kpi_auth", settings, log=tmp_path / "auth.log") as auth:
        with socket.create_connection(("127.0.0.1", int(auth.address.rpartition(":")[2]))) as client:
            client.sendall(head + b"{")
            # A request on the same port that is served later: the first has begun.
            assert httpx.get(f"{auth.address}/health/live").status_code == 200
            auth.process.terminate()
            wait_until(lambda: not is_listening(port))
            assert auth.process.poll() is None
            client.sendall(b"}")
            assert client.recv(12) == b"HTTP/1.1 422"
        assert auth.process.wait(20) == 0


@pytest.mark.anyio
async def test_the_process_ends_when_the_port_does(settings: AuthSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: asyncio.Queue[int] = asyncio.Queue()

    async def fail(_server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        assert sockets
        raise OSError

    monkeypatch.setattr(uvicorn.Server, "serve", fail)
    monkeypatch.setattr(signal, "raise_signal", raised.put_nowait)
    changes = {"internal_port": free_port(), "internal_key": SecretStr(secrets.token_hex(32))}
    async with running(create_app(settings.model_copy(update=changes))), asyncio.timeout(20):
        assert await raised.get() == signal.SIGTERM


def is_listening(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=2)
    except httpx.ConnectError:
        return False
    return True


def test_a_port_without_a_key_is_refused_at_the_start(environment: dict[str, str]) -> None:
    settings = {**environment, "INTERNAL_PORT": str(free_port()), "INTERNAL_KEY": ""}
    command = [sys.executable, "-m", "kpi_auth", "--port", str(free_port())]
    result = subprocess.run(command, env=clean_environment(settings), capture_output=True, text=True, check=False)
    assert result.returncode == 78
    assert "INTERNAL_PORT: set INTERNAL_KEY too" in result.stderr


def test_the_check_demands_a_port_in_production(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "kpi_auth", "check"]
    settings = {**environment, "APP_ENV": "production", "INTERNAL_KEY": ""}
    result = subprocess.run(command, env=clean_environment(settings), capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "INTERNAL_PORT and INTERNAL_KEY are not set" in result.stdout
    keys = {"FEED_KEY": secrets.token_hex(32)}
    complete = {**environment, **keys, "APP_ENV": "production", "INTERNAL_PORT": str(free_port())}
    result = subprocess.run(command, env=clean_environment(complete), capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
