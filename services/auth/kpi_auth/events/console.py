"""The command of operators ``python -m kpi_auth events-status``; it writes one JSON object to standard output."""

import asyncio
import json
import sys
from typing import Any

from kpi_shared.database import Database
from kpi_shared.operations import reason_of
from sqlalchemy.exc import SQLAlchemyError

from kpi_auth.events import repository
from kpi_auth.settings import AuthSettings


def show_status(settings: AuthSettings) -> int:
    """Print the last place, how many events have none, and for how many seconds."""
    try:
        status = asyncio.run(_read(settings))
    except SQLAlchemyError as error:
        print(f"{settings.part.program}: {reason_of(error)}", file=sys.stderr)
        return 1
    print(json.dumps(status))
    return 0


async def _read(settings: AuthSettings) -> dict[str, Any]:
    database = Database(settings)
    try:
        async with database.reading() as connection:
            return dict((await repository.get_status(connection))._mapping)  # noqa: SLF001 its public name in SQLAlchemy
    finally:
        await database.close()
