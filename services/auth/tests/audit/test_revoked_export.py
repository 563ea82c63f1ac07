"""Who may no longer read the audit trail gets no more of an export that has begun, from a real process."""

import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
from auth_support import PASSWORD, Accounts, registration
from fastapi import Request
from kpi_auth.audit.responses import check_reader
from kpi_auth.settings import AuthSettings
from kpi_shared.errors import ForbiddenError
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import launch_part, read_log, wait_until
from kpi_shared.tokens import InvalidTokenError, TokenCodec

# About 20 MB, several times what the system keeps for a client that reads slowly.
_ADD = """
    INSERT INTO audit_events (event, details)
    SELECT 'user.changed', jsonb_build_object('text', repeat('x', 4000)) FROM generate_series(1, 5000)
"""
_SMALL_BUFFER = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)]


@dataclass
class Service:
    address: str
    database_url: str
    log: Path

    def sql(self, statement: str, *values: object) -> None:
        with psycopg.connect(self.database_url) as connection:
            connection.execute(statement, values)  # type: ignore[call-overload] it is no literal

    def count_broken_off(self) -> int:
        return len(read_log(self.log, event="audit export stopped: its reader is no longer an admin or is signed out"))

    def add_admin(self, username: str) -> "Admin":
        registered = httpx.post(f"{self.address}/users", json=registration(username))
        assert registered.status_code == 201, registered.text
        user_id = registered.json()["id"]
        self.sql("UPDATE users SET role = 'admin' WHERE id = %s", user_id)
        body = {"username": username, "password": PASSWORD}
        return Admin(self, user_id, httpx.post(f"{self.address}/auth/login", json=body).json())


@dataclass
class Admin:
    service: Service
    id: int
    tokens: dict[str, str]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}

    def change(self, user_id: int, **changes: object) -> None:
        changed = httpx.patch(f"{self.service.address}/users/{user_id}", json=changes, headers=self.headers)
        assert changed.status_code == 200, changed.text

    def log_out(self) -> None:
        assert httpx.post(f"{self.service.address}/auth/logout", headers=self.headers).status_code == 204

    def export(self, meanwhile: Callable[[], None]) -> tuple[bytes, bool]:
        """The export, and whether it is complete; ``meanwhile`` is called after its first part."""
        client = httpx.Client(transport=httpx.HTTPTransport(socket_options=_SMALL_BUFFER), timeout=30)
        headers = {**self.headers, "Accept": "application/x-ndjson"}
        with client, client.stream("GET", f"{self.service.address}/audit", headers=headers) as response:
            assert response.status_code == 200
            parts = response.iter_bytes()
            received = bytearray(next(parts))
            meanwhile()
            try:
                for part in parts:
                    received += part
            except httpx.RemoteProtocolError:
                # The body has no last chunk, so no client takes it for the whole trail.
                return bytes(received), False
        return bytes(received), True


@pytest.fixture(scope="module")
def service(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("audit") / "auth.log"
    database_url = create_migrated_database("kpi_auth", f"audit_export_{worker}")
    settings = {
        "DATABASE_URL": database_url,
        "PASETO_SECRET_KEY": secret_key,
        "AUTH_SECRET_KEY": secrets.token_hex(32),
        "ARGON2_MEMORY_KIB": "64",
        "ARGON2_TIME_COST": "1",
    }
    with launch_part("kpi_auth", settings, log=log) as part:
        service = Service(part.address, database_url, log)
        service.sql(_ADD)
        yield service


_ENDINGS: dict[str, Callable[[Admin, Admin], None]] = {
    "demoted": lambda root, reader: root.change(reader.id, role="user"),
    "closed": lambda root, reader: root.change(reader.id, is_active=False),
    "logout": lambda _root, reader: reader.log_out(),
}


@pytest.mark.parametrize("ending", _ENDINGS)
def test_an_export_breaks_off_when_its_reader_may_no_longer_read(service: Service, ending: str) -> None:
    root, reader = service.add_admin(f"root_{ending}"), service.add_admin(f"reader_{ending}")
    before = service.count_broken_off()
    received, is_complete = reader.export(lambda: _ENDINGS[ending](root, reader))
    assert not is_complete
    assert 0 < received.count(b"\n") < 5000
    wait_until(lambda: service.count_broken_off() == before + 1)


def test_an_export_is_complete_when_another_admin_leaves(service: Service) -> None:
    root, reader = service.add_admin("root"), service.add_admin("reader")
    received, is_complete = reader.export(root.log_out)
    assert is_complete
    assert received.count(b"\n") > 5000


@pytest.mark.anyio
async def test_a_reader_is_checked_as_when_the_export_began(accounts: Accounts, settings: AuthSettings) -> None:
    root = await accounts.add_admin()
    request = Request({"type": "http", "app": accounts.app})
    reader = accounts.app.state.tokens.verify(root.token)
    await check_reader(request, reader)
    codec = TokenCodec.of(settings)
    codec.kill(str(reader.token_key_id))
    accounts.use_tokens(codec)
    with pytest.raises(InvalidTokenError):
        await check_reader(request, reader)
    accounts.use_tokens(TokenCodec.of(settings))
    await accounts.execute("UPDATE users SET role = 'user' WHERE id = :id", id=root.id)
    with pytest.raises(ForbiddenError):
        await check_reader(request, reader)
    await accounts.execute("UPDATE sessions SET ended_at = now(), end_reason = 'logout'")
    with pytest.raises(InvalidTokenError):
        await check_reader(request, reader)
