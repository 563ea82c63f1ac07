"""Which databases a command of ``kpi db`` works on, and whether it may change them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import typer

from kpi_cli import auth_process, parts
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.parts import Part
from kpi_cli.stack import environments, local_database, migrations, state
from kpi_cli.stack.ports import Ports

# What another program prints must not mix with this command's output.
_STANDARD_ERROR = 2


@dataclass(frozen=True, kw_only=True)
class Consent:
    """What the options allow: ``yes`` without a question, ``remote`` on another machine, ``production`` there, too."""

    yes: bool
    remote: bool
    production: bool = False


@dataclass(frozen=True, kw_only=True)
class ServiceDatabase:
    """A service's database, as the service itself shows it. ``ports`` are those of the local stack, None elsewhere."""

    part: Part
    environment: dict[str, str]
    shown: dict[str, Any]
    ports: Ports | None
    # Parts are using it, as far as this command can know.
    is_in_use: bool

    @property
    def place(self) -> dict[str, Any]:
        return {name: self.shown[name] for name in ("host", "port", "database", "user", "is_local")}

    @property
    def address(self) -> str:
        host = self.shown["host"] or "the local socket"
        return f"{self.shown['database']} at {host}:{self.shown['port']}"

    @property
    def description(self) -> str:
        return f"{self.part.name}: database {self.address}"

    def ask(self, command: str, **request: object) -> dict[str, Any]:
        """One of the service's own commands."""
        return auth_process.run(self.environment, command, request, part=self.part)

    def migrate(self, layout: Layout) -> None:
        """Upgrade to the newest migration; what the service prints goes to standard error."""
        command = self.part.command("migrate")
        code = subprocess.run(command, env=self.environment, stdout=_STANDARD_ERROR, check=False).returncode
        if code:
            raise FailureError(self.part.name, f"its migrations ended with exit code {code}", fix=f"{KPI} doctor")
        self.remember_migration(layout)

    def migrate_if_needed(self, layout: Layout) -> None:
        if self.shown["pending"]:
            self.migrate(layout)

    def remember_migration(self, layout: Layout) -> None:
        if self.ports is not None:
            migrations.remember(layout, self.ports.postgres, self.part)


@contextmanager
def open_databases(layout: Layout, service: str | None) -> Iterator[list[ServiceDatabase]]:
    """Those of all services, or of one: of the local stack, running or stopped, or the one that DATABASE_URL names."""
    chosen = _choose(service)
    if environments.names_database():
        yield [_show(part, dict(os.environ), None, is_in_use=True) for part in chosen]
        return
    running = state.read(layout)
    with local_database.use(layout) as ports:
        yield [
            _show(part, environments.environment(layout, part, ports), ports, is_in_use=running is not None)
            for part in chosen
        ]


def _choose(service: str | None) -> Sequence[Part]:
    services = parts.join_names(parts.WITH_DATABASE, "or")
    if service is None:
        if environments.names_database():
            problem = "DATABASE_URL names one database, and each service has its own"
            raise FailureError("db", problem, fix=f"name its service with -s: {services}", code=2)
        return parts.WITH_DATABASE
    part = parts.get_or_raise(service)
    if not part.has_database:
        raise FailureError(service, f"it has no database; those with one are {services}", code=2)
    return (part,)


def _show(part: Part, environment: dict[str, str], ports: Ports | None, *, is_in_use: bool) -> ServiceDatabase:
    shown = auth_process.run(environment, "show-database", {}, part=part)
    return ServiceDatabase(part=part, environment=environment, shown=shown, ports=ports, is_in_use=is_in_use)


def require_consent(databases: Sequence[ServiceDatabase], consent: Consent, *, what: str) -> None:
    """Name the databases and ask, unless the options have said yes; ``what`` is done to them: "deletes all data in"."""
    refuse_remote(databases, consent)
    _refuse_production(databases, consent)
    _refuse_mismatch(databases)
    for database in databases:
        local_database.report(f"this {what} {database.description}")
    if consent.yes:
        return
    if not sys.stdin.isatty():
        raise FailureError(
            "db", "nothing was changed: standard input is no terminal to ask at", fix="add --yes", code=2
        )
    if not typer.confirm("Go on?", err=True):
        raise FailureError("db", "nothing was changed", code=1)


def refuse_remote(databases: Sequence[ServiceDatabase], consent: Consent) -> None:
    remote = next((each for each in databases if not each.shown["is_local"]), None)
    if remote is not None and not consent.remote:
        problem = f"{remote.description} may not be on this machine; nothing was changed"
        raise FailureError("db", problem, fix="add --yes-remote if it is the one that you mean", code=2)


def _refuse_production(databases: Sequence[ServiceDatabase], consent: Consent) -> None:
    found = next((each for each in databases if each.shown["environment"] == "production"), None)
    if found is not None and not consent.production:
        problem = f"APP_ENV is production for {found.description}; nothing was changed"
        raise FailureError("db", problem, fix="add --allow-production if it is the one that you mean", code=2)


def _refuse_mismatch(databases: Sequence[ServiceDatabase]) -> None:
    """The databases of the local stack are its own; one that DATABASE_URL names may be another service's."""
    found = next((each for each in databases if each.shown["mismatch"] and each.ports is None), None)
    if found is not None:
        problem = f"{found.description}: {found.shown['mismatch']}; nothing was changed"
        raise FailureError("db", problem, fix="correct DATABASE_URL, or drop that database yourself", code=2)
