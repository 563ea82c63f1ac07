"""``kpi run`` and ``kpi migrate``: a part as a program, with the settings of its environment and files."""

import os
import subprocess
from collections.abc import Sequence
from typing import NoReturn

from kpi_cli import local, parts
from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout


def run(part: str, arguments: Sequence[str]) -> NoReturn:
    """Become ``python -m kpi_PART``: its signals, its exit code and its output are then the part's own."""
    _known(part, parts.PARTS)
    command = parts.command(part, *arguments)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


def migrate(layout: Layout, service: str | None) -> None:
    """Migrate the database that DATABASE_URL names, or else the local stack's."""
    if service is not None:
        _known(service, parts.SERVICES)
    if "DATABASE_URL" in os.environ or "DATABASE_URL_FILE" in os.environ:
        _migrate_named(service)
        return
    with local.database(layout) as ports:
        local.migrate(layout, ports, parts.SERVICES if service is None else (service,))


def _migrate_named(service: str | None) -> None:
    if service is None:
        raise FailureError(
            "migrate",
            "DATABASE_URL names one database, and each service has its own",
            fix="kpi migrate auth, or kpi migrate content, or unset DATABASE_URL for the local stack",
        )
    code = subprocess.run(parts.command(service, "migrate"), check=False).returncode
    if code:
        raise FailureError(service, f"its migrations ended with exit code {code}", code=code)


def _known(part: str, names: Sequence[str]) -> None:
    if part not in names:
        raise FailureError(part, f"there is no such part, only {', '.join(names)}", code=2)
