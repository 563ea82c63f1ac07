"""Alembic for a service: how its ``env.py`` runs, and whether a database is at the newest revision."""

from logging.config import dictConfig
from typing import Any

from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, MetaData, create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_shared.parts import Part
from kpi_shared.settings import DatabaseSettings, database_settings_of

# Any fixed number will do: it names the lock that two migrating processes meet at.
_ADVISORY_LOCK = 7_352_061
_TABLE = "alembic_version"


def alembic_config(part: Part, settings: DatabaseSettings) -> Config:
    config = Config(part.folder / "alembic.ini")
    config.set_main_option("script_location", str(part.folder / "migrations"))
    config.attributes["settings"] = settings
    return config


def upgrade(part: Part, settings: DatabaseSettings) -> None:
    command.upgrade(alembic_config(part, settings), "head")


def newest_revision(part: Part) -> str:
    """The revision that this code was written for."""
    head = ScriptDirectory(str(part.folder / "migrations")).get_current_head()
    if head is None:
        raise CommandError(f"{part.program} has no migrations")
    return head


def known_revisions(part: Part) -> frozenset[str]:
    return frozenset(item.revision for item in ScriptDirectory(str(part.folder / "migrations")).walk_revisions())


def is_current(part: Part, revision: str | None) -> bool:
    """Can this code work with a database at this revision?

    One that this code does not know is newer than it: migrations stay compatible with the code that still runs,
    and a rolling deployment must not take the old replicas out at once.
    """
    return revision is not None and (revision == newest_revision(part) or revision not in known_revisions(part))


async def current_revision(connection: AsyncConnection) -> str | None:
    """The revision that the database is at; None before the first."""
    exists = await connection.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": _TABLE})
    if not exists:
        return None
    revision: str | None = await connection.scalar(text(f"SELECT version_num FROM {_TABLE}"))  # noqa: S608 a constant
    return revision


def run_env(*, part: Part, metadata: MetaData) -> None:
    """The whole of a service's ``env.py``: settings come from the caller, or from where the part finds them."""
    given: DatabaseSettings | None = context.config.attributes.get("settings")
    if given is None:
        _log_to_standard_error()
    url = (given or database_settings_of(part).load()).database_url.get_secret_value()
    # A migration waits shortly for its locks, so that it never queues the service's own work behind it.
    options = "-c lock_timeout=5000 -c statement_timeout=300000 -c timezone=UTC"
    engine = create_engine(url, connect_args={"options": options, "application_name": f"{part.program}-migrate"})
    with engine.connect() as connection:
        _migrate(connection, metadata)
    engine.dispose()


def _migrate(connection: Connection, metadata: MetaData) -> None:
    # Taken for the session, outside the transaction: the second of two deployers waits, then finds nothing to do.
    connection.execute(text("SET lock_timeout = '60s'"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_LOCK})
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.commit()
    context.configure(connection=connection, target_metadata=metadata, compare_server_default=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_LOCK})
    connection.commit()


def _log_to_standard_error() -> None:
    console: dict[str, Any] = {"class": "logging.StreamHandler", "formatter": "plain"}
    dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(message)s"}},
            "handlers": {"console": console},
            "loggers": {"alembic": {"level": "INFO", "handlers": ["console"]}},
        }
    )
