"""Refreshes that reach an auth process while it stands still, and that their clients have given up when it goes on."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from auth_support import Accounts
from kpi_auth.settings import AuthSettings
from kpi_shared.testing.process import PartProcess, launch_part

TIMEOUT = 1.0
Connect = Callable[[], socket.socket]


@pytest.fixture
def auth(settings: AuthSettings, tmp_path: Path) -> Iterator[PartProcess]:
    own_secret = settings.auth_secret_key
    environment = {
        **({"AUTH_SECRET_KEY": own_secret.get_secret_value()} if own_secret else {}),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "PASETO_SECRET_KEY": settings.paseto_secret_key.get_secret_value(),
        "MAIL_WORKER": "false",
        "REQUEST_TIMEOUT": str(TIMEOUT),
    }
    with launch_part("kpi_auth", environment, log=tmp_path / "log", is_patient=False) as part:
        yield part


@pytest.fixture
def connect(auth: PartProcess) -> Iterator[Connect]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection(("127.0.0.1", auth.port), 20))


def send(to: socket.socket, refresh_token: str) -> None:
    body = json.dumps({"refresh_token": refresh_token})
    head = f"POST /auth/refresh HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    to.sendall(f"{head}\r\n\r\n{body}".encode())


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


async def test_no_refresh_is_executed_that_its_client_has_given_up(
    auth: PartProcess, shared_accounts: Accounts, connect: Connect
) -> None:
    people = [await shared_accounts.add(name) for name in ("anna", "bert", "cleo", "dora")]
    known = [connect(), connect(), connect()]
    with auth.suspend():
        # The last is on a connection that the process has yet to accept.
        used = [*known, connect()]
        for connection, person in zip(used, people, strict=True):
            send(connection, person.refresh_token)
        await asyncio.sleep(1.5 * TIMEOUT)
        reset(used[0])
        used[1].close()
        used[3].close()
    # The third client is still there: it gets a refusal, and may repeat its request.
    assert used[2].recv(65_536).startswith(b"HTTP/1.1 503 ")
    async with httpx.AsyncClient(base_url=auth.address, timeout=20) as client:
        assert (await client.get("/health/ready")).is_success
        assert await shared_accounts.scalar("SELECT sum(counter) FROM sessions") == 0
        assert await shared_accounts.scalar("SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL") == 0
        for person in people:
            assert (await client.post("/auth/refresh", json={"refresh_token": person.refresh_token})).is_success
