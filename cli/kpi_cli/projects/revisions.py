"""Migrations after a merge: both sides have gone on from the same revision, and one history has to come of it.

The revisions that came in follow the project's own: the databases of the project have its own already, and get the
others next. The other order would be wrong for them, since Alembic takes what precedes a database's revision as done.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kpi_cli.errors import FailureError

VERSIONS = "services/*/migrations/versions"


@dataclass(frozen=True)
class Revision:
    """One migration; ``line`` is that of its ``down_revision``."""

    file: Path
    name: str
    follows: frozenset[str]
    line: int


@dataclass(frozen=True)
class Moved:
    """A revision that came in, and the project's own one that it follows now."""

    file: Path
    name: str
    follows: str


def read(versions: Path) -> dict[str, Revision]:
    """The revisions of a folder by their names; raises FailureError for a file that is not Python."""
    found = (_parse(file) for file in sorted(versions.glob("*.py")))
    return {revision.name: revision for revision in found if revision is not None}


def _parse(file: Path) -> Revision | None:
    try:
        body = ast.parse(file.read_text("utf-8"), str(file)).body
    except SyntaxError as error:
        # Such as the marks of a conflict.
        raise FailureError("upgrade", f"{file.name}:{error.lineno} is not Python", fix="correct the file") from error
    values: dict[str, ast.expr] = {}
    for node in body:
        # Alembic's own template has annotations: revision: str = "...".
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value and isinstance(targets[0], ast.Name):
            values[targets[0].id] = node.value
    if "revision" not in values or "down_revision" not in values:
        return None
    follows = ast.literal_eval(values["down_revision"])
    names = [follows] if isinstance(follows, str) else follows or []
    line = values["down_revision"].lineno
    return Revision(file, ast.literal_eval(values["revision"]), frozenset(names), line)


def check_names(ours: Mapping[str, Revision], incoming: Iterable[str]) -> None:
    """Refuse a merge that would give two migrations one name."""
    for name in sorted(ours.keys() & set(incoming)):
        raise FailureError(
            "upgrade",
            f"{ours[name].file} and a migration of the platform are both named {name}",
            fix=f"name yours above {FIRST_OWN}: in its file, in those that follow it, and in the table alembic_version "
            "of each database",
        )


# The numbers below are the platform's, so that a migration of a project and a later one of the platform never meet.
FIRST_OWN = 501


def join(versions: Path, incoming: frozenset[str]) -> Moved | None:
    """Let the revisions that came in follow the project's own; None if there is nothing to do.

    Raises FailureError for a history in which that is not one line.
    """
    known = read(versions)
    heads = known.keys() - {name for revision in known.values() for name in revision.follows}
    own_heads = sorted(heads - incoming)
    if len(heads) <= 1 or not own_heads:
        return None
    first = [name for name in known if name in incoming and not known[name].follows & incoming]
    if len(own_heads) > 1 or len(first) > 1 or len(known[first[0]].follows) != 1:
        raise FailureError(
            "upgrade",
            f"{versions} has several newest migrations: {', '.join(sorted(heads))}",
            fix=f"cd {versions.parents[1]} && alembic merge --message 'join' heads, by the alembic of .venv/bin",
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
