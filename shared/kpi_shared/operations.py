"""Operations on the database of a service: migrate it, check it."""

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
    """Migrate the database to the newest revision and return the exit code."""
    try:
        upgrade(part, database_settings_of(part).load())
    except SQLAlchemyError as error:
        print(f"{part.program}: the database cannot be migrated: {reason_of(error)}", file=sys.stderr)
        return 1
    except CommandError as error:
        # The database has a revision that these files do not contain.
        print(f"{part.program}: this version cannot migrate the database: {error}", file=sys.stderr)
        return 1
    print(f"{part.program}: the database is at {newest_revision(part)}")
    return 0


def check_database(part: Part, settings: DatabaseSettings) -> dict[str, object]:
    try:
        revision = asyncio.run(_current_revision(settings))
    except SQLAlchemyError as error:
        fix = "start the database, or correct DATABASE_URL"
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
    """The first line of a database error: further lines contain values or the statement."""
    return str(getattr(error, "orig", error)).strip().splitlines()[0]
