"""``kpi db``: the databases of the services, migrated, rolled back, begun anew, shown, and opened in psql."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.operations import part_commands, tables
from kpi_cli.operations.service_databases import Consent, ServiceDatabase, open_databases, require_consent
from kpi_cli.stack import local_database, postgres

_COLUMNS = ("service", "database", "host", "port", "revision", "newest", "pending")


def migrate(layout: Layout, service: str | None, *, as_json: bool) -> None:
    """Upgrade to the newest migration."""
    with open_databases(layout, service) as databases:
        for database in databases:
            database.migrate(layout)
        done = [_describe_change(each, each.shown["newest"]) for each in databases]
    _print_changes(databases, done, as_json=as_json)


def rollback(layout: Layout, service: str | None, *, steps: int, consent: Consent, as_json: bool) -> None:
    """Undo the newest migrations."""
    with open_databases(layout, service) as databases:
        for database in databases:
            _check_steps(database, steps)
        require_consent(databases, consent, what=describe_rollback(steps))
        done = [_roll_back(layout, each, steps) for each in databases]
    _print_changes(databases, done, as_json=as_json)


def describe_rollback(steps: int) -> str:
    if steps == 1:
        return "undoes the newest migration, and deletes what it has made, in"
    return f"undoes the newest {steps} migrations, and deletes what they have made, in"


def _check_steps(database: ServiceDatabase, steps: int) -> None:
    if steps > database.shown["applied"]:
        problem = f"{steps} migrations cannot be undone: it has {database.shown['applied']}"
        raise FailureError(database.part.name, problem, fix=f"{KPI} db status", code=2)


def _roll_back(layout: Layout, database: ServiceDatabase, steps: int) -> dict[str, Any]:
    part_commands.run_alembic(layout, database.part, ["downgrade", f"-{steps}"], database.environment)
    return _describe_change(database, database.ask("show-database")["revision"])


def renew(layout: Layout, service: str | None, *, by_downgrades: bool, consent: Consent, as_json: bool) -> None:
    """Begin anew: drop everything or undo all migrations, then migrate. Parts may run meanwhile."""
    with open_databases(layout, service) as databases:
        require_consent(databases, consent, what="deletes all data in")
        done = [_renew(layout, each, consent, by_downgrades=by_downgrades) for each in databases]
    if as_json:
        print(json.dumps(done))
        return
    for database, each in zip(databases, done, strict=True):
        print(f"kpi: {each['service']}: {database.address} is empty, at migration {each['to']}")
    if service is not None and databases[0].part.mints_tokens:
        local_database.report("the other services keep the data of the deleted accounts")


def _renew(layout: Layout, database: ServiceDatabase, consent: Consent, *, by_downgrades: bool) -> dict[str, Any]:
    request = database.place | {
        "by_downgrades": by_downgrades,
        "continues_numbers": database.is_in_use,
        "is_of_stack": database.ports is not None,
        "allow_production": consent.production,
    }
    made = database.ask("renew-database", **request)
    database.remember_migration(layout)
    return _describe_change(database, made["revision"])


def _describe_change(database: ServiceDatabase, revision: str | None) -> dict[str, Any]:
    return {"service": database.part.name, **database.place, "from": database.shown["revision"], "to": revision}


def _print_changes(databases: Sequence[ServiceDatabase], done: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(done))
        return
    for database, each in zip(databases, done, strict=True):
        before, after = each["from"] or "empty", each["to"] or "empty"
        change = f"is at {after}" if before == after else f"was at {before} and is at {after}"
        print(f"kpi: {each['service']}: {database.address} {change}")


def print_status(layout: Layout, service: str | None, *, as_json: bool) -> None:
    """Where each database is, its revision, and what it lacks."""
    with open_databases(layout, service) as databases:
        found = [{"service": each.part.name, **each.shown} for each in databases]
    if as_json:
        print(json.dumps(found))
        return
    tables.print_rows(_COLUMNS, [{**each, "pending": len(each["pending"])} for each in found])
    for each in found:
        if each["mismatch"]:
            print(f"kpi: {each['service']}: {each['mismatch']}")
        for migration in each["pending"]:
            print(f"kpi: {each['service']} lacks {migration['revision']}: {migration['does'].splitlines()[0]}")


def open_shell(layout: Layout, service: str | None, arguments: Sequence[str], *, as_json: bool) -> NoReturn:
    """Run psql on a service's database, with the role of the service."""
    if service is None:
        raise FailureError("db", "psql opens one database", fix=f"{KPI} db shell -s content", code=2)
    if as_json and arguments:
        problem = "--json prints where the database is, and runs no psql that would get these arguments"
        raise FailureError("db", problem, fix="leave out --json, or the arguments", code=2)
    with open_databases(layout, service) as (database,):
        if as_json:
            print(json.dumps({"service": service, **database.place}))
            sys.exit(0)
        code = run_psql(find_psql(), arguments, database)
    sys.exit(code)


def find_psql() -> str:
    bundled = postgres.programs() / "psql"
    found = shutil.which("psql") or (str(bundled) if bundled.exists() else None)
    if found is None:
        problem = "psql, the command-line client of PostgreSQL, is not installed"
        raise FailureError(
            "db", problem, fix="sudo apt-get install postgresql-client, or the equivalent on your system"
        )
    return found


def run_psql(psql: str, arguments: Sequence[str], database: ServiceDatabase) -> int:
    """The address is an argument, which precedes variables and service files, as it does for the service.

    Its password is in a variable, since all users see the arguments.
    """
    address = {name: str(value) for name, value in _read_address(database).items()}
    variables = _name_variables(database, address)
    address.pop("password", None)
    # Ctrl-C ends a query of psql, and not this command, which may have to stop the database afterwards.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(
            [psql, f"--dbname={make_conninfo(**address)}", *arguments],
            env=database.environment | variables,
            preexec_fn=_take_interrupts,
            check=False,
        ).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def _take_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _read_address(database: ServiceDatabase) -> dict[str, Any]:
    environment = database.environment
    url = environment.get("DATABASE_URL") or _read_file(environment.get("DATABASE_URL_FILE"))
    if environment.get("AWS_SECRETS_ENABLED", "").lower() in {"1", "true", "yes", "on"} or not url:
        problem = "its address is in a secret that only the service reads"
        raise FailureError(database.part.name, problem, fix="set DATABASE_URL and unset AWS_SECRETS_ENABLED")
    try:
        return conninfo_to_dict(f"postgresql://{url.partition('://')[2]}")
    except psycopg.Error:
        # The message of the library quotes the address, and with it the password.
        raise FailureError(database.part.name, "DATABASE_URL is not an address of PostgreSQL") from None


def _read_file(name: str | None) -> str:
    return Path(name).read_text(encoding="utf-8").strip() if name else ""


def _name_variables(database: ServiceDatabase, address: Mapping[str, str]) -> dict[str, str]:
    """The address as variables, also for a psql that is given the name of another database of this server."""
    known = {option.keyword.decode(): option.envvar for option in Conninfo.get_defaults()}
    hidden = next((name for name in address if name in _SECRETS and not known[name]), None)
    if hidden is not None:
        problem = f"psql can be given {hidden} only as an argument, which all users of this machine see"
        raise FailureError(database.part.name, problem, fix="open psql yourself, with a service file")
    return {variable.decode(): value for name, value in address.items() if (variable := known[name])}


_SECRETS = {"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}
