"""The tutorials' monolith, filled with the same posts, users and votes, on the same PostgreSQL server."""

import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kpi_cli.stack.ports import HOST
from psycopg import Connection, sql

from kpi_bench.options import PEERS, Options
from kpi_bench.platform_stack import Database
from kpi_bench.processes import BenchError, Program, Server, free_port

DATABASE = "bench_monolith"
# The source of each table. Imported users have neither an address nor a password there, but need both here.
_USERS = """
    COPY (SELECT id, username, coalesce(email, id || '@example.com'), coalesce(password_hash, ''), created_at
          FROM users) TO STDOUT
"""
_SOURCES = {
    "users (id, username, email, password_hash, created_at)": ("kpi_auth", _USERS),
    "posts (id, title, content, published, date, updated_at, owner_id)": (
        "kpi_content",
        "COPY (SELECT id, title, content, published, date, updated_at, owner_id FROM posts) TO STDOUT",
    ),
    "votes (post_id, user_id)": ("kpi_content", "COPY (SELECT post_id, user_id FROM votes) TO STDOUT"),
}


@contextmanager
def monolith(database: Database, options: Options) -> Iterator[tuple[str, Server]]:
    """Yield its address and its process; drop its database at the end."""
    port = free_port()
    environment = {
        "PYTHONPATH": str(PEERS),
        "MONOLITH_DATABASE_URL": _create(database),
        "MONOLITH_SECRET_KEY": secrets.token_hex(32),
    }
    _fill(database, environment)
    # One worker, as for the platform's parts, and no log line per request.
    uvicorn = [sys.executable, "-m", "uvicorn", "monolith.main:app", "--host", HOST, "--port", str(port)]
    server = Server(Program([*uvicorn, "--no-access-log"], environment), options.log("monolith"))
    try:
        server.wait_until_ready(f"http://{HOST}:{port}/health/ready")
        yield f"http://{HOST}:{port}", server
    finally:
        server.stop()
        database.drop(DATABASE)


def _create(database: Database) -> str:
    database.copy("template1", DATABASE, owner="kpi_content")
    return database.url("content", DATABASE).replace("postgresql://", "postgresql+psycopg://", 1)


def _fill(database: Database, environment: Mapping[str, str]) -> None:
    """Create the tables with SQLModel, then copy the rows."""
    make = "from monolith import models, database as d; models.SQLModel.metadata.create_all(d.engine)"
    result = subprocess.run(
        [sys.executable, "-c", make], env=dict(environment), capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise BenchError(f"the monolith's tables: {result.stderr}")
    with database.connect(DATABASE) as target:
        for table, (source, query) in _SOURCES.items():
            _copy(database, target, (table, source, query))
        for name in ("users", "posts"):
            target.execute(
                sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), (SELECT max(id) FROM {}))").format(
                    sql.Literal(name), sql.Identifier(name)
                )
            )
        target.execute("VACUUM (ANALYZE)")


def _copy(database: Database, target: Connection, what: tuple[str, str, str]) -> None:
    table, source, query = what
    with (
        database.connect(source) as origin,
        origin.cursor().copy(query.encode()) as reading,
        target.cursor().copy(f"COPY {table} FROM STDIN".encode()) as writing,
    ):
        for block in reading:
            writing.write(block)
