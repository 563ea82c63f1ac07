"""``kpi run`` and ``kpi migrate``: a part as a program, with the settings of its environment and files."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import NoReturn

from kpi_cli import local, parts
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout


def run(layout: Layout, part: str, arguments: Sequence[str]) -> NoReturn:
    """Become ``python -m kpi_PART``: its signals, its exit code and its output are then the part's own."""
    _known(part, parts.PARTS)
    if part in parts.SERVICES and not {"-h", "--help"} & set(arguments) and not _has_settings(layout, part):
        # The part says next what it lacks, and cannot know of this command.
        local.tell(f'{part} has no settings; the local stack\'s are had by: eval "$({KPI} env {part})"')
    command = parts.command(part, *arguments)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def exports(layout: Layout, part: str) -> str:
    """Shell commands that set what the local stack decides for a part, wherever the shell then goes."""
    _known(part, parts.PARTS)
    settings = parts.own_settings(layout, part, local.remembered_ports(layout))
    files = [Path(value) for name, value in settings.items() if name.endswith("_FILE")]
    if not layout.ports.exists() or not all(file.exists() for file in files):
        raise FailureError(part, "the local stack has no settings yet: it was never started", fix="make up")
    # A variable wins over a file that is named, so one from another place would hide the stack's.
    names = [name for name in ("DATABASE_URL", "PASETO_SECRET_KEY") if name in os.environ and files]
    lines = [f"unset {' '.join(names)}"] if names else []
    return "\n".join([*lines, "export " + " ".join(f"{name}={quote(value)}" for name, value in settings.items())])


def _has_settings(layout: Layout, part: str) -> bool:
    folder = layout.checkout / "services" / part / "config"
    files = [path for path in folder.glob(".env*") if path.name != ".env.example"]
    return bool(files) or parts.names_database() or bool(os.environ.get("AWS_SECRETS_ENABLED"))


def migrate(layout: Layout, service: str | None) -> None:
    """Migrate the database that DATABASE_URL names, or else the local stack's."""
    if service is not None:
        _known(service, parts.SERVICES)
    if parts.names_database():
        _migrate_named(service)
        return
    with local.database(layout) as ports:
        local.migrate(layout, ports, parts.SERVICES if service is None else (service,))


def _migrate_named(service: str | None) -> None:
    if service is None:
        raise FailureError(
            "migrate",
            "DATABASE_URL names one database, and each service has its own",
            fix=f"name its service, auth or content: {KPI} migrate auth",
        )
    code = subprocess.run(parts.command(service, "migrate"), check=False).returncode
    if code:
        raise FailureError(service, f"its migrations ended with exit code {code}", code=code)


def _known(part: str, names: Sequence[str]) -> None:
    if part not in names:
        raise FailureError(part, f"there is no such part, only {', '.join(names)}", code=2)
