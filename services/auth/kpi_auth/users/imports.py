"""``python -m kpi_auth import-users``: adds the authors of imported posts, with no password and no e-mail address.

Whole accounts of another system are moved in by ``kpi_auth.imports``.
"""

import asyncio
import json
import sys
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

from kpi_shared.database import Database
from kpi_shared.json_lines import BadLineError, read_lines
from kpi_shared.operations import reason_of
from pydantic import AwareDatetime, BaseModel, StringConstraints
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.accounts import write_repository as accounts
from kpi_auth.identities import repository as identities
from kpi_auth.settings import AuthSettings

_BATCH = 2000


class ImportedUser(BaseModel):
    """One line of the input."""

    username: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,32}$")]
    created_at: AwareDatetime | None = None


class RegisteredNameError(Exception):
    """A username of the input belongs to a registered user."""


def import_users(settings: AuthSettings) -> int:
    """Read NDJSON from standard input; write the id of each user, new or existing, to standard output.

    All users are added in one transaction: after a failure, none of them is there.
    """
    try:
        # All lines are read before the first user is added, so that an invalid line leaves nothing behind.
        asyncio.run(_import(settings, list(read_lines(ImportedUser, sys.stdin.buffer))))
    except (BadLineError, RegisteredNameError, SQLAlchemyError) as error:
        print(f"{settings.part.program}: {reason_of(error)}", file=sys.stderr)
        return 1
    return 0


async def _import(settings: AuthSettings, users: list[ImportedUser]) -> None:
    created_at = {user.username: user.created_at or datetime.now(UTC) for user in users}
    ids: dict[str, int] = {}
    database = Database(settings)
    try:
        async with database.writing() as connection:
            names = iter(created_at)
            while batch := list(islice(names, _BATCH)):
                ids |= await _import_batch(connection, {name: created_at[name] for name in batch})
    finally:
        await database.close()
    for username in created_at:
        print(json.dumps({"username": username, "id": ids[username.lower()]}))


async def _import_batch(connection: AsyncConnection, created_at: Mapping[str, datetime]) -> dict[str, int]:
    ids = await accounts.add_imported(connection, born=created_at)
    linked = await identities.find_linked(connection, user_ids=ids.values())
    _check_all_imported(created_at, {name for name, user_id in ids.items() if user_id not in linked})
    return ids


def _check_all_imported(usernames: Iterable[str], imported: Collection[str]) -> None:
    """Imported content must not become that of a user who has registered one of the imported names."""
    registered = [name for name in usernames if name.lower() not in imported]
    if registered:
        raise RegisteredNameError(f"the name {registered[0]!r} cannot be imported: it belongs to a registered user")
