"""The commands of operators: ``python -m kpi_auth create-user``, ``reset-password`` and ``list-users``.

``check-new-user`` and ``check-user`` judge the name for the first two, before their caller asks for a password.
"""

from typing import Annotated, Any

from kpi_shared.caller import Role
from kpi_shared.database import AnyRow, Database
from kpi_shared.fields.emails import Email
from pydantic import SecretStr
from sqlmodel import Field, SQLModel

from kpi_auth.accounts import email_repository, list_repository, read_repository, write_repository
from kpi_auth.accounts.errors import EmailTakenError, UsernameTakenError, UserNotFoundError
from kpi_auth.accounts.fields import MAX_USERNAME, Password, Username
from kpi_auth.accounts.filters import Sort, UserFilter
from kpi_auth.accounts.models import NewAccount, PasswordOwner
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.commands import RefusedError, open_context, run
from kpi_auth.context import Context
from kpi_auth.passwords import service as passwords
from kpi_auth.passwords.policy import find_weakness
from kpi_auth.settings import AuthSettings
from kpi_auth.users.schemas import Search, UserPrivate, UserQuery


class CheckNewUser(SQLModel):
    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    username: Username
    email: Email | None = None
    role: Role = Role.USER


class CreateUser(CheckNewUser):
    password: Password


class CheckUser(SQLModel):
    """``username`` may be shorter than that of a new account: imported names can be."""

    model_config = {"extra": "forbid", "hide_input_in_errors": True}

    username: Annotated[str, Field(min_length=1, max_length=MAX_USERNAME)]


class ResetPassword(CheckUser):
    password: Password


class ListUsers(SQLModel):
    model_config = {"extra": "forbid"}

    search: Search | None = None
    role: Role | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100


def check_new_user(settings: AuthSettings) -> int:
    """Report whether an account with this name and e-mail address could be added."""
    return run(settings, CheckNewUser, _check_new)


def check_user(settings: AuthSettings) -> int:
    """Report whether there is an account with this name."""
    return run(settings, CheckUser, _check)


def create_user(settings: AuthSettings) -> int:
    """Add an account with a role; the rules for names and passwords are those of a registration."""
    return run(settings, CreateUser, _create)


def reset_password(settings: AuthSettings) -> int:
    """Replace a password: this ends all sessions, invalidates all mailed codes and notifies the owner by mail."""
    return run(settings, ResetPassword, _reset)


def list_users(settings: AuthSettings) -> int:
    """List accounts in the order of their names, without deleted ones."""
    return run(settings, ListUsers, _list)


async def _check_new(settings: AuthSettings, database: Database, command: CheckNewUser) -> dict[str, Any]:
    async with database.reading() as connection:
        if await read_repository.is_username_taken(connection, username=command.username):
            raise UsernameTakenError
        # Otherwise an address belongs to an account only after its confirmation, so it is never taken here.
        is_claimed = command.email is not None and settings.discloses_email
        if is_claimed and await email_repository.find_holder(connection, email=str(command.email)) is not None:
            raise EmailTakenError
    return {"username": command.username}


async def _check(_settings: AuthSettings, database: Database, command: CheckUser) -> dict[str, Any]:
    return {"username": (await _find_or_raise(database, command.username)).username}


async def _find_or_raise(database: Database, username: str) -> AnyRow:
    async with database.reading() as connection:
        found = await read_repository.find_by_name(connection, username=username)
    if found is None:
        raise UserNotFoundError(f"There is no user {username!r}")
    return found


async def _create(settings: AuthSettings, database: Database, command: CreateUser) -> dict[str, Any]:
    with open_context(settings, database) as context:
        account = NewAccount(
            username=command.username,
            email=command.email,
            email_signs_in=settings.discloses_email,
            role=command.role,
            password_hash=await _hash(context, command.password, command.username, command.email),
        )
        async with database.writing() as connection:
            row = await write_repository.add(connection, account)
            if row is None:
                is_taken = await read_repository.is_username_taken(connection, username=command.username)
                raise UsernameTakenError if is_taken else EmailTakenError
            details = {"role": command.role.value}
            await record(context, connection, Event.USER_CREATED, subject_id=row.id, details=details)
    return UserPrivate.model_validate(row).model_dump(mode="json")


async def _reset(settings: AuthSettings, database: Database, command: ResetPassword) -> dict[str, Any]:
    found = await _find_or_raise(database, command.username)
    with open_context(settings, database) as context:
        new_hash = await _hash(context, command.password, found.username, found.email)
        async with database.writing() as connection:
            row = await write_repository.lock(connection, user_id=found.id)
            if row is None or row.deleted_at is not None:
                raise UserNotFoundError(f"There is no user {command.username!r}")
            owner = PasswordOwner(row.id, row.username, row.email, row.password_hash, row.notice_email)
            ended = await passwords.replace(context, connection, owner=owner, new_hash=new_hash)
            await record(context, connection, Event.PASSWORD_RESET, subject_id=row.id)
    return {"id": row.id, "username": row.username, "sessions_ended": len(ended)}


async def _list(_settings: AuthSettings, database: Database, command: ListUsers) -> dict[str, Any]:
    search = UserQuery(search=command.search).filter.search
    user_filter = UserFilter(Sort.USERNAME, search, command.role, by_admin=True)
    async with database.reading() as connection:
        rows = await list_repository.get_page(connection, user_filter=user_filter, limit=command.limit + 1)
    items = [UserPrivate.model_validate(row).model_dump(mode="json") for row in rows[: command.limit]]
    return {"items": items, "more": len(rows) > command.limit}


async def _hash(context: Context, password: SecretStr, username: str, email: str | None) -> str:
    if weakness := find_weakness(password.get_secret_value(), username=username, email=email or ""):
        raise RefusedError(f"the password {weakness}")
    return await context.hasher.hash(password.get_secret_value())
