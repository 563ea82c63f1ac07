"""Accounts for tests, and requests in their name."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI
from kpi_auth.context import Context, context_of, standalone_context
from kpi_auth.hashing.hasher import PasswordHasher
from kpi_auth.mails.outbox import PURPOSE
from kpi_auth.origin import CONSOLE
from kpi_auth.settings import AuthSettings
from kpi_shared.caller import Role
from kpi_shared.database import Database
from kpi_shared.tokens import KeyRing, TokenCodec, open_sealed
from sqlalchemy import text

PASSWORD = "a quiet red bicycle"
# What is shown of a user to anybody who is signed in, and to the user and admins.
PUBLIC_FIELDS = {"id", "username", "full_name", "bio", "created_at"}
ALL_FIELDS = PUBLIC_FIELDS | {"email", "email_verified", "role", "is_active", "updated_at", "deleted_at"}


def registration(username: str, *, email: str | None = None) -> dict[str, str]:
    return {"username": username, "email": email or f"{username}@example.com", "password": PASSWORD}


@dataclass(frozen=True)
class Account:
    """Somebody who is signed in."""

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
    """Forget everything, records included, which the service itself never does."""
    async with database.writing() as connection:
        await connection.execute(text("ALTER TABLE audit_events DISABLE TRIGGER append_only"))
        await connection.execute(text("TRUNCATE users, mails, attempts, audit_events CASCADE"))
        await connection.execute(text("ALTER TABLE audit_events ENABLE TRIGGER append_only"))


class Accounts:
    """Registers through the service and looks into its database."""

    def __init__(self, app: FastAPI, client: httpx.AsyncClient) -> None:
        self.app = app
        self._client = client

    async def add(self, username: str, *, role: Role = Role.USER, verified: bool = True) -> Account:
        """Register and sign in; the address is verified, as if its owner had followed the link in the mail."""
        answer = await self._client.post("/users", json=registration(username))
        assert answer.status_code == 201, answer.text
        user_id = int(answer.json()["id"])
        await self.execute("UPDATE users SET role = :role WHERE id = :id", role=role.value, id=user_id)
        if verified:
            verify = "UPDATE users SET email_signs_in = true, email_verified_at = now() WHERE id = :id"
            await self.execute(verify, id=user_id)
        return await self.enter(username)

    async def enter(self, username: str, password: str = PASSWORD) -> Account:
        """Sign in once more."""
        answer = await self._client.post("/auth/login", json={"username": username, "password": password})
        assert answer.is_success, answer.text
        access = answer.json()["access_token"]
        return Account(self.app.state.tokens.verify(access).id, access, answer.json()["refresh_token"])

    async def add_admin(self, username: str = "root") -> Account:
        return await self.add(username, role=Role.ADMIN)

    async def sign_in(self, login: str, password: str) -> str | None:
        answer = await self._client.post("/auth/login", json={"username": login, "password": password})
        return str(answer.json()["access_token"]) if answer.is_success else None

    @property
    def context(self) -> Context:
        """What services work with at a request that comes from the console."""
        return context_of(self.app.state, CONSOLE)

    def use_tokens(self, tokens: TokenCodec) -> None:
        """Have the service verify with other keys; the fixture puts its own back."""
        self.app.state.tokens = tokens

    async def mails(self, to: str) -> list[SentMail]:
        """What lies in the outbox for an address, oldest first."""
        statement = text("SELECT template, content FROM mails WHERE recipient = :to ORDER BY id")
        async with self.app.state.database.reading() as connection:
            rows = (await connection.execute(statement, {"to": to})).all()
        key = KeyRing.of(self.app.state.settings).current
        return [SentMail(row.template, json.loads(open_sealed(row.content, key=key, implicit=PURPOSE))) for row in rows]

    async def events(self, subject_id: int | None = None) -> list[str]:
        """What was recorded about a user (or about nobody known), oldest first."""
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


def assert_problem(answer: httpx.Response, status: int, slug: str, *pointers: str) -> None:
    """A problem document of this type; with pointers, one that names these places and no others."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == slug, answer.text
    if pointers:
        assert [error["pointer"] for error in answer.json()["errors"]] == list(pointers)


@contextmanager
def configured(app: FastAPI, **changes: object) -> Iterator[None]:
    """The application with other settings for a while."""
    state = app.state
    before = state.settings
    state.settings = before.model_copy(update=changes)
    try:
        yield
    finally:
        state.settings = before


def context_with(settings: AuthSettings, database: Database) -> Context:
    """What services work with where no application runs."""
    return standalone_context(settings, database, PasswordHasher(settings))


def code_of(mail: SentMail) -> str:
    """The code in the mail's link."""
    return mail.values["link"].partition("#code=")[2]
