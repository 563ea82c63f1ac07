"""``kpi run``, ``kpi env`` and ``kpi migrate``: parts as programs, with the settings of their environment and files."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import NoReturn

from kpi_cli import parts
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout
from kpi_cli.parts import Part
from kpi_cli.stack import environments, local_database


def run(layout: Layout, name: str, arguments: Sequence[str]) -> NoReturn:
    """Become ``python -m kpi_PART``: signals, exit code and output are then the part's own."""
    part = parts.get_or_raise(name)
    if part.has_database and not {"-h", "--help"} & set(arguments) and not _has_settings(layout, part):
        # The part itself will report the missing settings, but does not know of this command.
        local_database.report(f'{name} has no settings; to use those of the local stack: eval "$({KPI} env {name})"')
    command = part.command(*arguments)
    os.execv(command[0], command)  # noqa: S606 - no shell is needed


def shell_exports(layout: Layout, name: str) -> str:
    """Shell commands that set what connects a part to the local stack, independent of the current folder."""
    part = parts.get_or_raise(name)
    settings = environments.own_settings(layout, part, local_database.known_ports(layout))
    files = [Path(value) for variable, value in settings.items() if variable.endswith("_FILE")]
    if not layout.ports.exists() or not all(file.exists() for file in files):
        raise FailureError(name, "the local stack has no settings yet: it has never been started", fix="make up")
    # A variable takes precedence over a file, so one that is already set would hide the stack's.
    present = [variable for variable in ("DATABASE_URL", "PASETO_SECRET_KEY") if variable in os.environ and files]
    lines = [f"unset {' '.join(present)}"] if present else []
    exports = " ".join(f"{variable}={quote(value)}" for variable, value in settings.items())
    return "\n".join([*lines, f"export {exports}"])


def _has_settings(layout: Layout, part: Part) -> bool:
    folder = layout.checkout / part.folder / "config"
    files = [path for path in folder.glob(".env*") if path.name != ".env.example"]
    return bool(files) or environments.names_database() or bool(os.environ.get("AWS_SECRETS_ENABLED"))


def migrate(layout: Layout, name: str | None) -> None:
    """Migrate the database that DATABASE_URL names, or else the local stack's."""
    part = None if name is None else _get_with_database(name)
    if environments.names_database():
        _migrate_named(part)
        return
    with local_database.use(layout) as ports:
        local_database.migrate(layout, ports, parts.WITH_DATABASE if part is None else (part,))


def _get_with_database(name: str) -> Part:
    part = parts.get_or_raise(name)
    if not part.has_database:
        owners = parts.join_names(parts.WITH_DATABASE, "and")
        raise FailureError(name, f"it has no database; the parts with one are {owners}", code=2)
    return part


def _migrate_named(part: Part | None) -> None:
    if part is None:
        first = parts.WITH_DATABASE[0].name
        raise FailureError(
            "migrate",
            "DATABASE_URL names one database, and each service has its own",
            fix=f"name its service ({parts.join_names(parts.WITH_DATABASE, 'or')}): {KPI} migrate {first}",
        )
    code = subprocess.run(part.command("migrate"), check=False).returncode
    if code:
        raise FailureError(part.name, f"its migrations ended with exit code {code}", code=code)
