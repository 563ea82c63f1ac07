"""Whether a service's database is at its newest migration, without starting the service.

Running its ``migrate`` costs the start of a Python program with all its imports, for each service at every start of the
stack. So the contents of the migration files and the revision in the database are compared with those after the last
successful migration. Only if they are the same is ``migrate`` skipped.
"""

import hashlib
import json

import psycopg

from kpi_cli.layout import Layout
from kpi_cli.parts import Part
from kpi_cli.stack import postgres


def fingerprint(layout: Layout, port: int, part: Part) -> str | None:
    """A hash of the files and the revision as they are now; None when the database has no revision yet."""
    folder = layout.checkout / part.folder / "migrations"
    revision = _read_revision(layout, port, part)
    if revision is None:
        return None
    digest = hashlib.sha256(revision.encode())
    for file in sorted(folder.rglob("*.py")):
        digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def is_current(layout: Layout, port: int, part: Part) -> bool:
    """Whether nothing has changed since the last successful migration."""
    now = fingerprint(layout, port, part)
    return now is not None and _recall(layout).get(part.name) == now


def remember(layout: Layout, port: int, part: Part) -> None:
    """Store that a migration of this part has succeeded."""
    layout.migrations.write_text(json.dumps(_recall(layout) | {part.name: fingerprint(layout, port, part)}) + "\n")


def _read_revision(layout: Layout, port: int, part: Part) -> str | None:
    try:
        with postgres.connect(layout, port, part.database) as connection:
            rows = connection.execute("SELECT version_num FROM alembic_version ORDER BY 1").fetchall()
    except psycopg.Error:
        return None
    return ",".join(row[0] for row in rows) or None


def _recall(layout: Layout) -> dict[str, str | None]:
    try:
        return dict(json.loads(layout.migrations.read_text()))
    except (OSError, ValueError, TypeError):
        return {}
