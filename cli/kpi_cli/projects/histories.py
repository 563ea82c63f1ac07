"""Migrations after a merge: both sides have gone on from the same one, and one history has to come of it.

Those that came in follow the project's own: its databases have its own already, and get the others next. The other
order would be wrong for them, since Alembic takes what precedes a database's migration as done.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kpi_cli import revisions
from kpi_cli.errors import FailureError
from kpi_cli.revisions import FIRST_OWN, Revision

# Whatever is in services/ and has no migrations has an empty history.
SERVICES = "services/*"


@dataclass(frozen=True)
class Moved:
    """A migration that came in, and the project's own one that it follows now."""

    file: Path
    name: str
    follows: str


def read_names(folder: Path) -> frozenset[str]:
    """The names of all migrations of a platform's files."""
    return frozenset(name for service in folder.glob(SERVICES) for name in revisions.read(service))


def check_names(own: Mapping[str, Revision], incoming: Iterable[str]) -> None:
    """Refuse a merge that would give two migrations one name."""
    for name in sorted(own.keys() & set(incoming)):
        raise FailureError(
            "upgrade",
            f"{own[name].file.name} and a migration of the platform are both named {name}",
            fix=f"name yours above {FIRST_OWN}: in its file, in those that follow it, and in the table alembic_version "
            "of each database",
        )


def join(service: Path, incoming: frozenset[str]) -> Moved | None:
    """Let the migrations that came in follow the project's own; None if there is nothing to do.

    Raises FailureError for a history in which that is not one line.
    """
    known = revisions.read(service)
    heads = revisions.find_heads(known)
    own_heads = [name for name in heads if name not in incoming]
    first = [name for name in known if name in incoming and not known[name].follows & incoming]
    if len(heads) <= 1 or not own_heads:
        return None
    if len(own_heads) > 1 or len(first) > 1 or len(known[first[0]].follows) != 1:
        raise FailureError(
            "upgrade",
            f"{service.name} has several newest migrations: {', '.join(heads)}",
            fix=f"cd {SERVICES[:-1]}{service.name} && ../../.venv/bin/alembic merge --message join heads",
        )
    _follow(known[first[0]], own_heads[0])
    return Moved(known[first[0]].file, first[0], own_heads[0])


def _follow(revision: Revision, name: str) -> None:
    (former,) = revision.follows
    lines = revision.file.read_text("utf-8").splitlines(keepends=True)
    place = revision.line - 1
    lines[place] = re.sub(rf"""(["']){re.escape(former)}\1""", f'"{name}"', lines[place])
    # What Alembic writes into the docstring, for people.
    text = re.sub(rf"^Revises: {re.escape(former)}$", f"Revises: {name}", "".join(lines), count=1, flags=re.MULTILINE)
    revision.file.write_text(text, encoding="utf-8")
