"""Accounts for tests, and requests with their tokens."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI
from kpi_auth.audit.chain_repository import LOCK
from kpi_auth.context import Context, context_of, standalone_context
from kpi_auth.hashing.hasher import PasswordHasher
from kpi_auth.mails.outbox import PURPOSE
from kpi_auth.origin import CONSOLE
from kpi_auth.settings import AuthSettings
from kpi_shared.caller import Role
from kpi_shared.database import Database
from kpi_shared.testing.database import empty_tables
from kpi_shared.tokens import TokenCodec, open_sealed
from psycopg.errors import LockNotAvailable
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

PASSWORD = "a quiet red bicycle"
# The fields of a user that all signed-in users see, and those that the user and admins see.
PUBLIC_FIELDS = {"id", "username", "full_name", "bio", "created_at"}
ALL_FIELDS = PUBLIC_FIELDS | {"email", "email_verified", "role", "is_active", "updated_at", "deleted_at"}


def registration(username: str, *, email: str | None = None) -> dict[str, str]:
    return {"username": username, "email": email or f"{username}@example.com", "password": PASSWORD}


@dataclass(frozen=True)
class Account:
    """An account with an active session."""

    id: int
    token: str
    refresh_token: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class SentMail:
    template: str
    values: dict[str, str]


async def empty(database: Database) -> None:
    """Delete everything, audit records included, which the service itself never does."""
    while not await _truncate(database):  # noqa: ASYNC110 the application does not say when it needs no table
        await asyncio.sleep(0.05)


async def _truncate(database: Database) -> bool:
    """False while the loops of a running application use the tables.

    They lock several tables in orders of their own. So a lock is waited for less long than the server takes to find a
    deadlock, and then all are given back.
    """
    try:
        async with database.writing() as connection:
            # On a busy machine the bound of requests is too short for the new files of twenty tables and their indexes.
            await connection.execute(text("SET LOCAL statement_timeout = '60s'; SET LOCAL lock_timeout = '300ms'"))
            # The chainer of a running application has read what it is about to write: it must finish first.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            await connection.execute(text("ALTER TABLE audit_events DISABLE TRIGGER append_only"))
            # Those that need it empty these themselves.
            await empty_tables(connection, kept=("bootstrap_codes", "event_horizon", "outlets", "token_key_holders"))
            await connection.execute(text("ALTER TABLE audit_events ENABLE TRIGGER append_only"))
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            return False
        raise
    return True


class Accounts:
    """Registers through the service and looks into its database."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        self.app = app
        self._client = client

    async def add(self, username: str, *, role: Role = Role.USER, verified: bool = True) -> Account:
        """Register and sign in; the address is verified as if its owner had used the link in the mail."""
        response = await self._client.post("/users", json=registration(username))
        assert response.status_code == 201, response.text
        user_id = int(response.json()["id"])
        await self.execute("UPDATE users SET role = :role WHERE id = :id", role=role.value, id=user_id)
        if verified:
            verify = "UPDATE users SET email_signs_in = true, email_verified_at = now() WHERE id = :id"
            await self.execute(verify, id=user_id)
        return await self.enter(username)

    async def enter(self, username: str, password: str = PASSWORD) -> Account:
        """Sign in once more."""
        response = await self._client.post("/auth/login", json={"username": username, "password": password})
        assert response.is_success, response.text
        access = response.json()["access_token"]
        return Account(self.app.state.tokens.verify(access).id, access, response.json()["refresh_token"])

    async def add_admin(self, username: str = "root") -> Account:
        return await self.add(username, role=Role.ADMIN)

    async def sign_in(self, login: str, password: str) -> str | None:
        response = await self._client.post("/auth/login", json={"username": login, "password": password})
        return str(response.json()["access_token"]) if response.is_success else None

    @property
    def context(self) -> Context:
        """The context of a request from the console."""
        return context_of(self.app.state, CONSOLE)

    def use_tokens(self, tokens: TokenCodec) -> None:
        """Let the service verify with other keys; the fixture restores its own."""
        self.app.state.tokens = tokens

    async def mails(self, to: str) -> list[SentMail]:
        """The mails in the outbox for an address, oldest first."""
        statement = text("SELECT template, content FROM mails WHERE recipient = :to ORDER BY id")
        async with self.app.state.database.reading() as connection:
            rows = (await connection.execute(statement, {"to": to})).all()
        key = self.app.state.settings.read_ring().symmetric_keys[0]
        return [SentMail(row.template, json.loads(open_sealed(row.content, key=key, implicit=PURPOSE))) for row in rows]

    async def events(self, subject_id: int | None = None) -> list[str]:
        """The recorded events of a user (or without a known user), oldest first."""
        statement = text("SELECT event FROM audit_events WHERE subject_id IS NOT DISTINCT FROM :id ORDER BY id")
        async with self.app.state.database.reading() as connection:
            return list((await connection.execute(statement, {"id": subject_id})).scalars())

    async def execute(self, statement: str, **values: object) -> None:
        async with self.app.state.database.writing() as connection:
            await connection.execute(text(statement), values)

    async def scalar(self, statement: str, **values: object) -> object:
        async with self.app.state.database.reading() as connection:
            found: object = await connection.scalar(text(statement), values)
            return found


def assert_problem(response: httpx.Response, status: int, slug: str, *pointers: str) -> None:
    """Check for a problem document of this type; with pointers, for exactly these in its ``errors``."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["type"] == slug, response.text
    if pointers:
        assert [error["pointer"] for error in response.json()["errors"]] == list(pointers)


@contextmanager
def configured(app: FastAPI, **changes: object) -> Iterator[None]:
    """Give the application other settings within the block."""
    state = app.state
    before = state.settings
    state.settings = before.model_copy(update=changes)
    try:
        yield
    finally:
        state.settings = before


def context_with(settings: AuthSettings, database: Database) -> Context:
    """A context without a running application."""
    return standalone_context(settings, database, PasswordHasher(settings))


def code_of(mail: SentMail) -> str:
    """The code in the mail's link."""
    return mail.values["link"].partition("#code=")[2]
