"""Alembic for a service: the code of its ``env.py``, and the revision of a database."""

from importlib import import_module
from importlib.util import find_spec
from logging import INFO, LogRecord
from logging.config import dictConfig
from pkgutil import iter_modules
from typing import Any

from alembic import command, context
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, MetaData, create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_shared.database_url import connection_arguments
from kpi_shared.parts import Part
from kpi_shared.settings import DatabaseSettings, database_settings_of

# An arbitrary constant that identifies the lock between two migrating processes.
LOCK_BETWEEN_MIGRATIONS = 7_352_061
_TABLE = "alembic_version"


def alembic_config(part: Part, settings: DatabaseSettings) -> Config:
    config = Config(part.folder / "alembic.ini")
    # A percent sign in a path would begin an interpolation.
    config.set_main_option("script_location", str(part.folder / "migrations").replace("%", "%%"))
    config.attributes["settings"] = settings
    return config


def upgrade(part: Part, settings: DatabaseSettings) -> None:
    command.upgrade(alembic_config(part, settings), "head")


def newest_revision(part: Part) -> str:
    """The newest revision that this code has."""
    head = ScriptDirectory(str(part.folder / "migrations")).get_current_head()
    if head is None:
        raise CommandError(f"{part.program} has no migrations")
    return head


def known_revisions(part: Part) -> frozenset[str]:
    return frozenset(item.revision for item in ScriptDirectory(str(part.folder / "migrations")).walk_revisions())


def is_current(part: Part, revision: str | None) -> bool:
    """Whether this code can work with a database at this revision.

    An unknown revision is newer than this code. Migrations are compatible with the previous code, so that the old
    replicas stay ready during a rolling deployment.
    """
    return revision is not None and (revision == newest_revision(part) or revision not in known_revisions(part))


async def current_revision(connection: AsyncConnection) -> str | None:
    """The revision of the database; None before the first migration."""
    exists = await connection.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": _TABLE})
    if not exists:
        return None
    revision: str | None = await connection.scalar(text(f"SELECT version_num FROM {_TABLE}"))  # noqa: S608 a constant
    return revision


def run_env(*, part: Part, metadata: MetaData) -> None:
    """The complete ``env.py`` of a service. The settings come from the caller or from the environment of the part."""
    given: DatabaseSettings | None = context.config.attributes.get("settings")
    if given is None:
        _log_to_standard_error()
    _import_models(part.package)
    url = (given or database_settings_of(part).load()).database_url.get_secret_value()
    # A short lock timeout: a waiting migration would block the queries of the service behind it.
    options = "-c lock_timeout=5000 -c statement_timeout=300000 -c timezone=UTC"
    arguments = connection_arguments(url, application_name=f"{part.program}-migrate", options=options)
    engine = create_engine("postgresql+psycopg://", connect_args={"connect_timeout": "5"} | arguments)
    with engine.connect() as connection:
        _migrate(connection, metadata)
    engine.dispose()


def _import_models(package: str) -> None:
    """Register the tables of all nouns of a service, by importing ``package.noun.models`` of each that has tables."""
    for noun in iter_modules(import_module(package).__path__, f"{package}."):
        if noun.ispkg and find_spec(f"{noun.name}.models"):
            import_module(f"{noun.name}.models")


def _migrate(connection: Connection, metadata: MetaData) -> None:
    # A session lock, outside the transaction: the second of two deployments waits, then has nothing to do.
    connection.execute(text("SET lock_timeout = '60s'"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_BETWEEN_MIGRATIONS})
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.commit()
    # A transaction for each revision, so that a lock of one is not held while the next one reads a whole table.
    context.configure(
        connection=connection, target_metadata=metadata, compare_server_default=True, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_BETWEEN_MIGRATIONS})
    connection.commit()


def _log_to_standard_error() -> None:
    console: dict[str, Any] = {
        "class": "logging.StreamHandler",
        "formatter": "plain",
        "filters": [_tells_what_is_done],
    }
    dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"plain": {"format": "%(message)s"}},
            "handlers": {"console": console},
            "loggers": {"alembic": {"level": "INFO", "handlers": ["console"]}},
        }
    )


def _tells_what_is_done(record: LogRecord) -> bool:
    """Each migration that runs, and each difference that is found, without how Alembic has been set up."""
    return record.levelno > INFO or record.getMessage().startswith(("Running", "Detected"))
