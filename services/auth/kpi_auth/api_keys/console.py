"""The commands of operators on API keys: ``python -m kpi_auth create-api-key`` and others.

They act for the owner, whom the operator names: access to the database is enough for that anyway.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from kpi_shared.caller import Role, Subject
from kpi_shared.database import MAX_ID, AnyRow, Database
from kpi_shared.integers import Integer
from sqlmodel import Field, SQLModel

from kpi_auth.accounts import read_repository as accounts
from kpi_auth.accounts.errors import UserNotFoundError
from kpi_auth.accounts.fields import MAX_USERNAME
from kpi_auth.api_keys import repository, service
from kpi_auth.api_keys.errors import KeyNotFoundError
from kpi_auth.api_keys.fields import KeyState
from kpi_auth.api_keys.filters import KeyFilter
from kpi_auth.api_keys.schemas import MAX_GRACE, ApiKeyCreate, ApiKeyCreated, ApiKeyPublic, ApiKeyRotated
from kpi_auth.api_keys.service import KeyRequest, NewKey
from kpi_auth.commands import open_context, run
from kpi_auth.settings import AuthSettings

_Username = Annotated[str, Field(min_length=1, max_length=MAX_USERNAME)]
_KeyId = Annotated[Integer, Field(ge=1, le=MAX_ID)]


class CreateKey(ApiKeyCreate):
    username: _Username


class ListKeys(SQLModel):
    model_config = {"extra": "forbid"}

    username: _Username | None = None
    state: KeyState | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 100


class RotateKey(SQLModel):
    model_config = {"extra": "forbid"}

    id: _KeyId
    grace_seconds: Annotated[Integer, Field(ge=0, le=MAX_GRACE)] = 0


class RevokeKey(SQLModel):
    model_config = {"extra": "forbid"}

    id: _KeyId


def create_api_key(settings: AuthSettings) -> int:
    """Make a key for an account."""
    return run(settings, CreateKey, _create)


def list_api_keys(settings: AuthSettings) -> int:
    """List keys, newest first."""
    return run(settings, ListKeys, _list)


def rotate_api_key(settings: AuthSettings) -> int:
    """Replace a key by a new one."""
    return run(settings, RotateKey, _rotate)


def revoke_api_key(settings: AuthSettings) -> int:
    """Delete a key."""
    return run(settings, RevokeKey, _revoke)


async def _create(settings: AuthSettings, database: Database, command: CreateKey) -> dict[str, Any]:
    with open_context(settings, database) as context:
        async with database.writing() as connection:
            owner = await accounts.find_by_name(connection, username=command.username)
            if owner is None:
                raise UserNotFoundError(f"There is no user {command.username!r}")
            caller = _act_for(owner)
            new = await service.create(context, connection, caller=caller, wanted=command.columns)
    return _shown(new)


async def _list(_settings: AuthSettings, database: Database, command: ListKeys) -> dict[str, Any]:
    async with database.reading() as connection:
        owner_id = None
        if command.username is not None:
            owner = await accounts.find_by_name(connection, username=command.username)
            if owner is None:
                raise UserNotFoundError(f"There is no user {command.username!r}")
            owner_id = owner.id
        key_filter = KeyFilter(owner_id, command.state)
        rows = await repository.get_page(connection, key_filter=key_filter, before=None, limit=command.limit + 1)
    items = [ApiKeyPublic.of(row).model_dump(mode="json") for row in rows[: command.limit]]
    return {"items": items, "more": len(rows) > command.limit}


async def _rotate(settings: AuthSettings, database: Database, command: RotateKey) -> dict[str, Any]:
    with open_context(settings, database) as context:
        async with database.writing() as connection:
            request = await _request_of_owner(database, command.id)
            grace = timedelta(seconds=command.grace_seconds)
            new, old = await service.rotate(context, connection, request=request, grace=grace, expires_at=None)
    shown = ApiKeyRotated(**_shown(new), replaces=old.id, replaced_expires_at=old.expires_at)
    return shown.model_dump(mode="json")


async def _revoke(settings: AuthSettings, database: Database, command: RevokeKey) -> dict[str, Any]:
    with open_context(settings, database) as context:
        async with database.writing() as connection:
            await service.delete(context, connection, request=await _request_of_owner(database, command.id))
    return {"id": command.id}


async def _request_of_owner(database: Database, key_id: int) -> KeyRequest:
    async with database.reading() as connection:
        row = await repository.get(connection, key_id=key_id)
        owner = await accounts.get(connection, user_id=row.user_id) if row is not None else None
    if owner is None:
        raise KeyNotFoundError(f"There is no API key {key_id}")
    return KeyRequest(_act_for(owner), key_id, None)


def _act_for(owner: AnyRow) -> Subject:
    now = datetime.now(UTC)
    return Subject(owner.id, owner.username, Role(owner.role), session_id="", token_id="", expires_at=now)


def _shown(new: NewKey) -> dict[str, Any]:
    return ApiKeyCreated.with_key(new.row, new.text).model_dump(mode="json")
