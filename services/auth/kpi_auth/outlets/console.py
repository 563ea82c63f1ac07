"""The operators' command ``python -m kpi_auth show-outlets``: how far each outlet has come."""

from typing import Any

from kpi_shared.database import AnyRow, Database
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel

from kpi_auth import commands
from kpi_auth.events import repository as events
from kpi_auth.outlets import repository
from kpi_auth.settings import AuthSettings


class ShowOutletsCommand(SQLModel):
    """It needs no input."""


def show_outlets(settings: AuthSettings) -> int:
    return commands.run(settings, ShowOutletsCommand, _show)


async def _show(_settings: AuthSettings, database: Database, _command: ShowOutletsCommand) -> dict[str, Any]:
    async with database.reading() as connection:
        rows = await repository.get_all(connection)
        return {"outlets": [await _describe(connection, row) for row in rows]}


async def _describe(connection: AsyncConnection, row: AnyRow) -> dict[str, Any]:
    waiting, seconds = await events.get_lag(connection, after=row.seq)
    return {
        "name": row.name,
        "state": row.state,
        "since": row.state_at.isoformat(),
        "seq": row.seq,
        "waiting": waiting,
        "seconds": round(seconds, 1),
        "last_error": row.last_error,
    }
