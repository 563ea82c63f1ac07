"""Whether a service's database is at the state that its migration files lead to, without asking the service.

Asking it costs the start of a Python program with all its imports, twice at every start of the stack. What decides
is the contents of the migration files together with the revision that the database says it is at. When both are the
same as after the last migration that went well, there is nothing to do; in any doubt the service is asked.
"""

import hashlib
import json

import psycopg

from kpi_cli import postgres
from kpi_cli.layout import Layout


def fingerprint(layout: Layout, port: int, service: str) -> str | None:
    """What stands for the files and the database as they are now; None when the database has no revision yet."""
    folder = layout.checkout / "services" / service / "migrations"
    revision = _revision(layout, port, service)
    if revision is None:
        return None
    digest = hashlib.sha256(revision.encode())
    for file in sorted(folder.rglob("*.py")):
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def is_done(layout: Layout, port: int, service: str) -> bool:
    """Whether nothing has changed since the last migration."""
    now = fingerprint(layout, port, service)
    return now is not None and _remembered(layout).get(service) == now


def remember(layout: Layout, port: int, service: str) -> None:
    """Note that a migration of this service went well."""
    layout.migrations.write_text(json.dumps(_remembered(layout) | {service: fingerprint(layout, port, service)}) + "\n")


def _revision(layout: Layout, port: int, service: str) -> str | None:
    try:
        with postgres.connect(layout, port, f"kpi_{service}") as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version ORDER BY 1").fetchall()
    except psycopg.Error:
        return None
    return ",".join(row[0] for row in rows) or None


def _remembered(layout: Layout) -> dict[str, str | None]:
    try:
        return dict(json.loads(layout.migrations.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
