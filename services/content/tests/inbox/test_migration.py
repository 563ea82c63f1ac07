"""The migration that makes the authors a copy of the accounts."""

from alembic import command
from kpi_content.settings import PART, ContentSettings
from kpi_shared.migrations import alembic_config, upgrade
from kpi_shared.testing.postgres import create_database
from pydantic import SecretStr
from sqlalchemy import Engine, create_engine, text

VALIDATED = "SELECT convalidated FROM pg_constraint WHERE conname = 'ck_authors_deleted_has_no_name'"


def is_validated(engine: Engine) -> bool:
    with engine.connect() as connection:
        validated: bool = connection.scalars(text(VALIDATED)).one()
        return validated


def test_no_author_is_read_while_the_table_is_locked(worker: str, secret_key: str) -> None:
    """The constraint holds for new rows at once, and a later transaction reads the others, without that lock."""
    url = create_database(f"content_constraint_{worker}")
    settings = ContentSettings(database_url=SecretStr(url), paseto_secret_key=SecretStr(secret_key))
    engine = create_engine(settings.database_url.get_secret_value())
    try:
        command.upgrade(alembic_config(PART, settings), "c003")
        assert not is_validated(engine)
        upgrade(PART, settings)
        assert is_validated(engine)
    finally:
        engine.dispose()


def test_each_revision_is_a_transaction(worker: str, secret_key: str) -> None:
    """So no lock of one is held while the next one reads a whole table."""
    url = create_database(f"content_revisions_{worker}")
    settings = ContentSettings(database_url=SecretStr(url), paseto_secret_key=SecretStr(secret_key))
    engine = create_engine(settings.database_url.get_secret_value())
    try:
        upgrade(PART, settings)
        with engine.connect() as connection:
            writers = "SELECT xmin::text FROM pg_attribute WHERE attrelid = 'public.{}'::regclass AND attname = '{}'"
            is_deleted = connection.scalars(text(writers.format("authors", "is_deleted"))).one()
            rebuild = connection.scalars(text(writers.format("inbox", "rebuild"))).one()
        assert is_deleted != rebuild
    finally:
        engine.dispose()
