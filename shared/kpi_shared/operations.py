"""What an operator does to a service's database: migrate it, and ask how it is."""

import asyncio
import sys

from alembic.util.exc import CommandError
from sqlalchemy.exc import SQLAlchemyError

from kpi_shared.database import Database
from kpi_shared.findings import create_finding
from kpi_shared.migrations import current_revision, is_current, newest_revision, upgrade
from kpi_shared.parts import Part
from kpi_shared.settings import DatabaseSettings, database_settings_of


def migrate(part: Part) -> int:
    """Bring the database to the newest revision; the exit code says whether it is there."""
    try:
        upgrade(part, database_settings_of(part).load())
    except SQLAlchemyError as error:
        print(f"{part.program}: the database cannot be migrated: {reason_of(error)}", file=sys.stderr)
        return 1
    except CommandError as error:
        # Alembic's words for a revision that these files do not have.
        print(f"{part.program}: the database is not one that this version can migrate: {error}", file=sys.stderr)
        return 1
    print(f"{part.program}: the database is at {newest_revision(part)}")
    return 0


def database_finding(part: Part, settings: DatabaseSettings) -> dict[str, object]:
    try:
        revision = asyncio.run(_current_revision(settings))
    except SQLAlchemyError as error:
        fix = "start the database, or set DATABASE_URL to one that runs"
        return create_finding("database", ok=False, detail=reason_of(error), fix=fix)
    detail = f"at migration {revision}, newest {newest_revision(part)}"
    return create_finding("migrations", ok=is_current(part, revision), detail=detail, fix=f"kpi migrate {part.name}")


async def _current_revision(settings: DatabaseSettings) -> str | None:
    database = Database(settings)
    try:
        async with database.reading() as connection:
            return await current_revision(connection)
    finally:
        await database.close()


def reason_of(error: Exception) -> str:
    """A database's error in one line: the driver's others hold values, and SQLAlchemy's the statement."""
    return str(getattr(error, "orig", error)).strip().splitlines()[0]
