"""``python -m kpi_auth import-users``: accounts from elsewhere, with no password and no e-mail address."""

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import Annotated

from kpi_shared.database import Database
from kpi_shared.lines import BadLineError, read_lines
from pydantic import AwareDatetime, BaseModel, StringConstraints
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.settings import AuthSettings

_BATCH = 2000
_insert = text("""
    INSERT INTO users (username, created_at)
    SELECT name, born FROM unnest(CAST(:names AS text[]), CAST(:born AS timestamptz[])) AS given (name, born)
    ON CONFLICT DO NOTHING
""")
_ids = text("SELECT lower(username) AS name, id FROM users WHERE lower(username) = ANY(CAST(:names AS text[]))")


class ImportedUser(BaseModel):
    """One line of the input."""

    username: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,32}$")]
    created_at: AwareDatetime | None = None


def import_users(settings: AuthSettings) -> int:
    """Read NDJSON from standard input; write each user's id to standard output, new or not."""
    try:
        users = list(read_lines(ImportedUser, sys.stdin.buffer))
    except BadLineError as error:
        print(f"{settings.part.program}: {error}", file=sys.stderr)  # noqa: T201 the operator reads it
        return 1
    asyncio.run(_import(settings, users))
    return 0


async def _import(settings: AuthSettings, users: list[ImportedUser]) -> None:
    database = Database(settings)
    try:
        for start in range(0, len(users), _BATCH):
            batch = users[start : start + _BATCH]
            async with database.writing() as connection:
                ids = await _add(connection, batch)
            for user in batch:
                sys.stdout.write(json.dumps({"username": user.username, "id": ids[user.username.lower()]}) + "\n")
    finally:
        await database.close()


async def _add(connection: AsyncConnection, batch: list[ImportedUser]) -> dict[str, int]:
    names = [user.username for user in batch]
    born = [user.created_at or datetime.now(UTC) for user in batch]
    await connection.execute(_insert, {"names": names, "born": born})
    rows = await connection.execute(_ids, {"names": [name.lower() for name in names]})
    return {row.name: row.id for row in rows}
