"""``show-database`` and ``renew-database`` of every service: which database it has, and how to begin it anew.

The service itself says which database it is, because only it knows all sources of its settings. It begins none
anew but the one that its caller names, who has seen the place before.
"""

import ipaddress
import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from psycopg.pq import Conninfo
from sqlalchemy.exc import SQLAlchemyError

from kpi_shared.database_url import connection_arguments, parse_database_url
from kpi_shared.migrations import LOCK_BETWEEN_MIGRATIONS, alembic_config, known_revisions, newest_revision, upgrade
from kpi_shared.operations import reason_of
from kpi_shared.parts import Part
from kpi_shared.settings import DatabaseSettings

_DEFAULT_PORT = "5432"
_read_revision = "SELECT version_num FROM alembic_version"
_read_sequences = """
    SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL
"""
# Those that the migrations no longer make are left out.
_continue_sequence = "SELECT setval(found, %s) FROM to_regclass(quote_ident(%s)) AS found WHERE found IS NOT NULL"
# The schema is dropped with all that is in it: tables, functions, types. It then is as CREATE DATABASE makes it.
_DROP = (
    "DROP SCHEMA public CASCADE",
    "CREATE SCHEMA public AUTHORIZATION pg_database_owner",
    "GRANT USAGE ON SCHEMA public TO PUBLIC",
)


@dataclass(frozen=True, kw_only=True)
class DatabasePlace:
    """Where a database is; ``is_local``: certainly on this machine."""

    host: str
    port: str
    database: str
    user: str
    is_local: bool


def find_place(url: str) -> DatabasePlace:
    """The place that libpq connects to: what the address leaves out comes from its environment variables."""
    defaults = {item.keyword.decode(): item.val.decode() for item in Conninfo.get_defaults() if item.val}
    found = defaults | parse_database_url(url)
    return DatabasePlace(
        host=found.get("hostaddr") or found.get("host") or "",
        port=found.get("port") or _DEFAULT_PORT,
        database=found["dbname"],
        user=found.get("user", ""),
        is_local=_is_local(found),
    )


def _is_local(parameters: Mapping[str, str]) -> bool:
    """A Unix socket, or one host all of whose addresses are loopback ones."""
    # A service file may name any host, and hostaddr another one than the name that is shown.
    if parameters.get("service") or parameters.get("hostaddr"):
        return False
    host = parameters.get("host", "")
    # An abstract socket begins with @. Several hosts are separated by commas, in a path, too.
    return "," not in host and (host == "" or host.startswith(("/", "@")) or _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(ipaddress.ip_address(str(each).partition("%")[0]).is_loopback for each in found)


def show(part: Part, settings: DatabaseSettings) -> int:
    """Print the place of the database, its revision, and the migrations that it lacks."""
    url = settings.database_url.get_secret_value()
    try:
        with _connect(part, url) as connection:
            revision = _current_revision(connection)
    except psycopg.Error as error:
        return _fail(part, f"the database cannot be reached: {reason_of(error)}")
    pending = _find_pending(part, revision)
    shown = asdict(find_place(url)) | {
        "revision": revision,
        "newest": newest_revision(part),
        "pending": pending,
        "applied": len(known_revisions(part)) - len(pending),
        "environment": settings.app_env.value,
    }
    print(json.dumps(shown))
    return 0


def _current_revision(connection: psycopg.Connection) -> str | None:
    try:
        row = connection.execute(_read_revision).fetchone()
    except psycopg.errors.UndefinedTable:
        return None
    return row[0] if row else None


def _find_pending(part: Part, revision: str | None) -> list[dict[str, str]]:
    """The migrations after this revision, the oldest first; none if it is newer than this code."""
    scripts = ScriptDirectory(str(part.folder / "migrations"))
    found: list[dict[str, str]] = []
    for script in scripts.walk_revisions():
        if script.revision == revision:
            return found
        found.insert(0, {"revision": script.revision, "does": script.doc})
    return found if revision is None else []


def renew(part: Part, settings: DatabaseSettings) -> int:
    """Begin the database anew that standard input names: its place as ``show`` prints it, and how."""
    url = settings.database_url.get_secret_value()
    place, request = find_place(url), _read_request()
    if any(request.get(name) != value for name, value in asdict(place).items()):
        named = f"{place.host or 'the local socket'}:{place.port}/{place.database}"
        return _fail(part, f"nothing is dropped: the settings name {named}, and standard input another place")
    try:
        with _connect(part, url) as connection:
            if place.is_local and not _is_at_home(connection):
                return _fail(part, "nothing is dropped: the connection leads to another machine")
            numbers = _read_numbers(connection) if request.get("continues_numbers") else {}
            if not request.get("by_downgrades"):
                _drop_everything(connection)
        if request.get("by_downgrades"):
            command.downgrade(alembic_config(part, settings), "base")
        upgrade(part, settings)
        with _connect(part, url) as connection:
            _continue_numbers(connection, numbers)
    except (psycopg.Error, SQLAlchemyError, CommandError) as error:
        return _fail(part, f"the database cannot be made anew: {reason_of(error)}")
    print(json.dumps(asdict(place) | {"revision": newest_revision(part)}))
    return 0


def _read_request() -> dict[str, Any]:
    try:
        found = json.loads(sys.stdin.buffer.read())
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _read_numbers(connection: psycopg.Connection[Any]) -> dict[str, int]:
    return dict(connection.execute(_read_sequences).fetchall())


def _continue_numbers(connection: psycopg.Connection[Any], numbers: Mapping[str, int]) -> None:
    """No number is given twice: running parts remember ended sessions, and places in the feed, by their numbers."""
    for name, last in numbers.items():
        connection.execute(_continue_sequence, [last, name])


def _is_at_home(connection: psycopg.Connection) -> bool:
    address = connection.info.hostaddr
    return not address or ipaddress.ip_address(address).is_loopback


def _drop_everything(connection: psycopg.Connection) -> None:
    # As long as a migration runs, and the parts that are running wait no longer than for one.
    connection.execute("SET lock_timeout = '60s'")
    connection.execute("SELECT pg_advisory_lock(%s)", [LOCK_BETWEEN_MIGRATIONS])
    connection.execute("SET lock_timeout = '5s'")
    with connection.transaction():
        for statement in _DROP:
            connection.execute(statement)


def _connect(part: Part, url: str) -> psycopg.Connection[Any]:
    arguments: dict[str, Any] = {"connect_timeout": "5"} | connection_arguments(
        url, application_name=f"{part.program}-database", options="-c statement_timeout=60000"
    )
    return psycopg.connect(**arguments, autocommit=True)


def _fail(part: Part, sentence: str) -> int:
    print(f"{part.program}: {sentence}", file=sys.stderr)
    return 1
