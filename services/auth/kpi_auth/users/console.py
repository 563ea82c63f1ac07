"""``python -m kpi_auth create-user``, ``reset-password`` and ``list-users``: what operators do without a token.

Each reads one JSON object from standard input, so that no password stands in a list of processes, and writes one to
standard output. A refusal is one sentence on standard error.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from kpi_shared.caller import Role
from kpi_shared.database import Database
from kpi_shared.errors import ProblemError
from kpi_shared.operations import reason_of
from kpi_shared.telemetry.logging import configure_logging
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Field, SQLModel

from kpi_auth.audit.models import Event
from kpi_auth.audit.origin import CONSOLE
from kpi_auth.audit.service import record
from kpi_auth.codes import service as codes
from kpi_auth.mails.outbox import Mail, Outbox, Template
from kpi_auth.passwords.hasher import PasswordHasher
from kpi_auth.passwords.policy import refusal
from kpi_auth.registrations import repository as registrations
from kpi_auth.sessions import repository as sessions
from kpi_auth.sessions.models import EndReason
from kpi_auth.settings import AuthSettings
from kpi_auth.users import changes_repository, listing_repository
from kpi_auth.users.errors import EmailTakenError, UsernameTakenError, UserNotFoundError
from kpi_auth.users.listing import Listing, Sort
from kpi_auth.users.schemas import Email, Password, Search, Username, UserPrivate, UserQuery

_MAX_INPUT = 64 * 1024


class RefusedError(Exception):
    """What was asked for cannot be done; the message is a sentence for the operator."""


class NewAccount(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    username: Username
    email: Email | None = None
    password: Password
    role: Role = Role.USER


class NewPassword(SQLModel):
    """``username`` is not held to today's form: imported names may be shorter."""

    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    username: Annotated[str, Field(min_length=1, max_length=32)]
    password: Password


class Query(SQLModel):
    model_config = {"extra": "forbid"}

    search: Search | None = None
    role: Role | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100


Asked = TypeVar("Asked", bound=SQLModel)
Work = Callable[[AuthSettings, Database, Asked], Awaitable[dict[str, Any]]]


def create_user(settings: AuthSettings) -> int:
    """Add an account with a role, and with the same rules for names and passwords as a registration."""
    return _answered(settings, NewAccount, _create)


def reset_password(settings: AuthSettings) -> int:
    """Put another password in place: all sessions end, all outstanding codes die, and the owner is told by mail."""
    return _answered(settings, NewPassword, _reset)


def list_users(settings: AuthSettings) -> int:
    """The accounts in the order of their names, those that were deleted left out."""
    return _answered(settings, Query, _list)


def _answered(settings: AuthSettings, asked: type[Asked], work: Work[Asked]) -> int:
    configure_logging(part=settings.part.program, level=settings.log_level, form=settings.log_format, stream=sys.stderr)
    try:
        answer = asyncio.run(_with_database(settings, _read(asked), work))
    except (RefusedError, ProblemError, SQLAlchemyError) as error:
        print(f"{settings.part.program}: {reason_of(error)}", file=sys.stderr)
        return 1
    print(json.dumps(answer))
    return 0


def _read(asked: type[Asked]) -> Asked:
    try:
        return asked.model_validate_json(sys.stdin.buffer.read(_MAX_INPUT))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        field = ".".join(map(str, first["loc"])) or "input"
        raise RefusedError(f"{field}: {first['msg']}") from None


async def _with_database(settings: AuthSettings, asked: Asked, work: Work[Asked]) -> dict[str, Any]:
    database = Database(settings)
    try:
        return await work(settings, database, asked)
    finally:
        await database.close()


async def _create(settings: AuthSettings, database: Database, asked: NewAccount) -> dict[str, Any]:
    values = {
        "username": asked.username,
        "email": asked.email,
        "email_signs_in": settings.tells_email,
        "role": asked.role.value,
        "password_hash": await _hashed(settings, asked.password.get_secret_value(), asked.username, asked.email),
    }
    async with database.writing() as connection:
        row = await changes_repository.add(connection, values=values)
        if row is None:
            taken = await registrations.username_is_taken(connection, username=asked.username)
            raise UsernameTakenError if taken else EmailTakenError
        details = {"role": asked.role.value}
        await record(connection, Event.USER_CREATED, origin=CONSOLE, subject_id=row.id, details=details)
    return UserPrivate.model_validate(row).model_dump(mode="json")


async def _reset(settings: AuthSettings, database: Database, asked: NewPassword) -> dict[str, Any]:
    async with database.reading() as connection:
        found = await changes_repository.find_by_name(connection, username=asked.username)
    if found is None:
        raise UserNotFoundError(f"There is no user {asked.username!r}")
    password_hash = await _hashed(settings, asked.password.get_secret_value(), found.username, found.email)
    async with database.writing() as connection:
        row = await changes_repository.hold(connection, user_id=found.id)
        if row is None or row.deleted_at is not None:
            raise UserNotFoundError(f"There is no user {asked.username!r}")
        await changes_repository.set_password(connection, user_id=row.id, password_hash=password_hash)
        ended = await sessions.end_all(connection, user_id=row.id, reason=EndReason.PASSWORD)
        await codes.forget_all(connection, user_id=row.id)
        await record(connection, Event.PASSWORD_RESET, origin=CONSOLE, subject_id=row.id)
        if row.email and row.email_signs_in:
            mail = Mail(Template.PASSWORD_CHANGED, to=row.email, values={"username": row.username})
            await Outbox(settings).put(connection, mail)
    return {"id": row.id, "username": row.username, "sessions_ended": len(ended)}


async def _list(_settings: AuthSettings, database: Database, asked: Query) -> dict[str, Any]:
    search = UserQuery(search=asked.search).listing.search
    listing = Listing(Sort.USERNAME, search, asked.role, by_admin=True)
    async with database.reading() as connection:
        rows = await listing_repository.page(connection, listing=listing, limit=asked.limit + 1)
    items = [UserPrivate.model_validate(row).model_dump(mode="json") for row in rows[: asked.limit]]
    return {"items": items, "more": len(rows) > asked.limit}


async def _hashed(settings: AuthSettings, password: str, username: str, email: str | None) -> str:
    if reason := refusal(password, username=username, email=email or ""):
        raise RefusedError(f"the password {reason}")
    hasher = PasswordHasher(settings)
    try:
        return await hasher.hash(password)
    finally:
        hasher.close()
