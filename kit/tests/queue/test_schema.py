"""The tables of the queue, and the migrations of a service."""

import hashlib
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from kpi_kit.queue import Queue, QueueSchemaError
from kpi_kit.queue.schema import downgrade_sql, upgrade_sql
from kpi_shared.testing.postgres import create_database
from queue_support import Note, Recorder, until_idle

_ENV = """
from alembic import context
import sqlalchemy as sa
import os
metadata = sa.MetaData()
sa.Table("things", metadata, sa.Column("id", sa.Integer, primary_key=True))
with sa.create_engine(os.environ["URL"], poolclass=sa.NullPool).connect() as connection:
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()
"""
_REVISION = """
import sqlalchemy as sa
from alembic import op
from kpi_kit.queue.schema import downgrade_sql, upgrade_sql
revision, down_revision = "1", None
def upgrade():
    op.execute(upgrade_sql())
    # Behind the queue's statements, tables are where they were before.
    op.create_table("things", sa.Column("id", sa.Integer, primary_key=True))
def downgrade():
    op.drop_table("things")
    op.execute(downgrade_sql())
"""
# Of procrastinate's schema. Another one means that a service needs a migration: see docs/kit/queue.md.
_SCHEMA_OF_3_10 = "c70ec4b400a60ad9"


@pytest.fixture
def url(worker: str) -> str:
    return create_database(f"kit_queue_schema_{worker}")


async def test_a_revision_of_alembic_makes_the_schema_and_autogenerate_ignores_it(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "migrations"
    (folder / "versions").mkdir(parents=True)
    (folder / "env.py").write_text(_ENV)
    (folder / "versions" / "one.py").write_text(_REVISION)
    (tmp_path / "alembic.ini").write_text(f"[alembic]\nscript_location = {folder}\npath_separator = os\n")
    monkeypatch.setenv("URL", url.replace("postgresql://", "postgresql+psycopg://"))
    config = Config(tmp_path / "alembic.ini")
    command.upgrade(config, "head")
    command.check(config)
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    queue, handler = Queue.from_url(url), Recorder()
    queue.handle(Note, handler)
    async with queue, queue.work():
        await queue.push(Note(text="a"))
        await until_idle(queue)
    assert handler.texts == ["a"]
    assert _list_tables(url, "public") == {"alembic_version", "things"}


async def test_without_the_schema_the_error_names_the_remedy(url: str) -> None:
    async with Queue.from_url(url) as queue:
        with pytest.raises(QueueSchemaError, match=r"kpi_kit\.queue\.schema"):
            await queue.push(Note(text="a"))
        with pytest.raises(QueueSchemaError):
            await queue.status()


def test_the_schema_can_be_dropped_and_its_functions_have_a_fixed_path(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(upgrade_sql())
        query = "SELECT proname FROM pg_proc WHERE pronamespace = 'kpi_queue'::regnamespace AND proconfig IS NULL"
        assert connection.execute(query).fetchall() == []
        connection.execute(downgrade_sql())
    assert _list_tables(url, "kpi_queue") == set()


def test_the_schema_of_the_installed_library_is_known() -> None:
    schema = (files("procrastinate.sql") / "schema.sql").read_bytes()
    assert hashlib.sha256(schema).hexdigest()[:16] == _SCHEMA_OF_3_10


def _list_tables(url: str, schema: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema]).fetchall()
    return {name for (name,) in rows}
