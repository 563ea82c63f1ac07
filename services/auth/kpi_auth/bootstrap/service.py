"""The first admin of an installation, and a key with all rights: made once.

The caller has read the log of auth, which has a one-time code while there is no admin, or is a program on this
machine, where the settings allow that. Only a hash of the code is stored, one for all replicas.
"""

import hashlib
import secrets
from datetime import timedelta
from typing import NamedTuple

import structlog
from kpi_shared.caller import Role, Scope
from kpi_shared.database import AnyRow
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import read_repository, write_repository
from kpi_auth.accounts.errors import EmailTakenError, UsernameTakenError
from kpi_auth.accounts.models import NewAccount
from kpi_auth.api_keys import service as api_keys
from kpi_auth.api_keys.schemas import ApiKeyCreated
from kpi_auth.api_keys.service import NewKey
from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record, record_own
from kpi_auth.bootstrap import repository
from kpi_auth.bootstrap.errors import AlreadyBootstrappedError, InvalidBootstrapCodeError
from kpi_auth.bootstrap.schemas import Bootstrap, Bootstrapped, FirstAdmin
from kpi_auth.context import Context

log = structlog.get_logger(__name__)

LIFETIME = timedelta(hours=1)


class MadeAdmin(NamedTuple):
    """The row of the account, its password, and its key."""

    row: AnyRow
    password: str
    key: NewKey


async def announce_code(context: Context) -> None:
    """Write a code to the log if there is no admin and no valid code."""
    async with context.database.committing() as connection:
        if await read_repository.is_any_admin(connection):
            return
        code = secrets.token_urlsafe(32)
        if await repository.issue(connection, code_hash=_hash(code), lifetime=LIFETIME):
            log.warning("no admin yet: make one with kpi bootstrap or POST /bootstrap", bootstrap_code=code)


async def bootstrap(context: Context, *, wanted: Bootstrap) -> MadeAdmin:
    """AlreadyBootstrappedError if there is an admin, and for all but one of parallel requests."""
    async with context.database.committing() as connection:
        if await read_repository.is_any_admin(connection):
            raise AlreadyBootstrappedError
        await _check_code(context, connection, wanted.code)
    return await bootstrap_here(context, wanted=wanted)


async def bootstrap_here(context: Context, *, wanted: Bootstrap) -> MadeAdmin:
    """As ``bootstrap`` without a code, for a caller who has access to the database."""
    async with context.database.committing() as connection:
        if await read_repository.is_any_admin(connection):
            raise AlreadyBootstrappedError
        if not await repository.claim(connection, spare_hash=secrets.token_bytes(32)):
            raise AlreadyBootstrappedError
    try:
        return await _make_admin(context, wanted)
    except BaseException:
        async with context.database.committing() as connection:
            await repository.release(connection)
        raise


def bootstrapped(made: MadeAdmin, wanted: Bootstrap) -> Bootstrapped:
    """What is shown once."""
    row = made.row
    # A password that the client chose is not repeated.
    password = made.password if wanted.password is None else None
    admin = FirstAdmin(id=row.id, username=row.username, email=row.email, role=row.role, password=password)
    return Bootstrapped(user=admin, api_key=ApiKeyCreated.with_key(made.key.row, made.key.text))


async def _check_code(context: Context, connection: AsyncConnection, code: str | None) -> None:
    if context.settings.bootstrap_from_loopback and context.origin.is_local_program:
        return
    if code is None or not await repository.is_valid(connection, code_hash=_hash(code), lifetime=LIFETIME):
        raise InvalidBootstrapCodeError


async def _make_admin(context: Context, wanted: Bootstrap) -> MadeAdmin:
    password = wanted.choose_password().get_secret_value()
    account = NewAccount(
        username=wanted.username,
        email=wanted.email,
        email_signs_in=context.settings.discloses_email,
        role=Role.ADMIN,
        password_hash=await context.hasher.hash(password),
    )
    async with context.database.writing() as connection:
        await write_repository.guard_admins(connection)
        if await read_repository.is_any_admin(connection):
            raise AlreadyBootstrappedError
        row = await _add(connection, account)
        scopes = [scope.value for scope in Scope]
        key = await api_keys.add(
            context, connection, user_id=row.id, columns={"name": wanted.key_name, "scopes": scopes}
        )
        await record(context, connection, Event.BOOTSTRAPPED, subject_id=row.id, details={"key_id": key.row.id})
        details = {"key_id": key.row.id, "name": wanted.key_name, "scopes": scopes}
        await record_own(context, connection, Event.API_KEY_CREATED, user_id=row.id, details=details)
    return MadeAdmin(row, password, key)


async def _add(connection: AsyncConnection, account: NewAccount) -> AnyRow:
    row = await write_repository.add(connection, account)
    if row is None:
        is_taken = await read_repository.is_username_taken(connection, username=account.username)
        raise UsernameTakenError if is_taken else EmailTakenError
    return row


def _hash(code: str) -> bytes:
    # A slow hash is only needed for secrets that people choose; 256 random bits cannot be guessed.
    return hashlib.sha256(code.encode()).digest()
