"""``show-database`` and ``renew-database`` of every service: which database it has, and how to begin it anew.

The service itself says which database it is, because only it knows all sources of its settings. It begins none
anew but the one that its caller names, who has seen the place before, and that is its own by its contents, too.
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
from kpi_shared.settings import DatabaseSettings, Environment

_read_revision = "SELECT version_num FROM alembic_version"
_read_sequences = """
    SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL
"""
# Those that the migrations no longer make are left out.
_continue_sequence = "SELECT setval(found, %s) FROM to_regclass(quote_ident(%s)) AS found WHERE found IS NOT NULL"
# Those of extensions are left out: a fresh database may have some.
_has_tables = """
    SELECT EXISTS (
        SELECT FROM pg_class
        WHERE relnamespace = to_regnamespace('public') AND relkind IN ('r', 'p', 'f', 'v', 'm')
        AND relname <> 'alembic_version'
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
    )
"""
# The schema is dropped with all that is in it: tables, functions, types. It then is as CREATE DATABASE makes it.
_DROP = (
    # That of the queue of kpi_kit, which a migration makes. Schemas of other programs stay.
    "DROP SCHEMA IF EXISTS kpi_queue CASCADE",
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


def find_place(connection: psycopg.Connection[Any], url: str) -> DatabasePlace:
    """The place that this connection leads to, whether an address, a variable or a service file has named it."""
    info = connection.info
    # The driver resolves a host itself, so an address here need not be one that was given.
    found = {name: value for name, value in info.get_parameters().items() if name != "hostaddr"}
    # It connects to one of several hosts, of which the connection then knows no other.
    defaults = {item.keyword.decode(): item.val.decode() for item in Conninfo.get_defaults() if item.val}
    given = defaults | parse_database_url(url)
    # Where both are given, the address leads and the name may be any.
    is_address = given.get("hostaddr") or given.get("service")
    return DatabasePlace(
        host=(is_address and info.hostaddr) or info.host,
        port=str(info.port),
        database=info.dbname,
        user=info.user,
        is_local=is_local(found) and is_local(given) and _is_at_home(connection),
    )


def is_local(parameters: Mapping[str, str]) -> bool:
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
            place, revision = find_place(connection, url), _current_revision(connection)
            mismatch = _find_mismatch(part, connection)
    except psycopg.Error as error:
        return _fail(part, f"the database cannot be reached: {reason_of(error)}")
    pending = _find_pending(part, revision)
    shown = asdict(place) | {
        "revision": revision,
        "newest": newest_revision(part),
        "pending": pending,
        "applied": len(known_revisions(part)) - len(pending),
        "mismatch": mismatch,
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


def _find_mismatch(part: Part, connection: psycopg.Connection[Any]) -> str | None:
    """Why the contents are not what this service's migrations have made, or None."""
    revision = _current_revision(connection)
    if revision is not None:
        return None if revision in known_revisions(part) else f"{revision} is no migration of {part.name}"
    (has_tables,) = connection.execute(_has_tables).fetchone() or (False,)
    return f"it has tables, and no migration of {part.name}" if has_tables else None


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
    url, request = settings.database_url.get_secret_value(), _read_request()
    if settings.app_env is Environment.PRODUCTION and not request.get("allow_production"):
        return _fail(part, "nothing is dropped: APP_ENV is production")
    try:
        with _connect(part, url) as connection:
            place = find_place(connection, url)
            if reason := _find_refusal(part, connection, place, request):
                return _fail(part, f"nothing is dropped: {reason}")
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


def _find_refusal(
    part: Part, connection: psycopg.Connection[Any], place: DatabasePlace, request: Mapping[str, Any]
) -> str | None:
    if any(request.get(name) != value for name, value in asdict(place).items()):
        named = f"{place.host or 'the local socket'}:{place.port}/{place.database}"
        return f"the settings name {named}, and standard input another place"
    # The local stack has made its databases itself; another branch of the code may have been the last to migrate one.
    return None if request.get("is_of_stack") else _find_mismatch(part, connection)


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
