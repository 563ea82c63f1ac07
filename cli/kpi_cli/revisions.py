"""The migrations of a service as files: which follows which, which is the newest, and what the next is called."""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kpi_cli.errors import FailureError

# In a project of one's own; lower numbers are the platform's, so that later ones of both never have the same.
FIRST_OWN = 501
_FOLDER = Path("migrations") / "versions"
_NAME = re.compile(r"([a-z])(\d{3})")


@dataclass(frozen=True)
class Revision:
    """One migration; ``line`` is that of its ``down_revision``."""

    file: Path
    name: str
    follows: frozenset[str]
    line: int


def read(service: Path) -> dict[str, Revision]:
    """The migrations in a service's folder by their names; raises FailureError for a file that is not Python."""
    found = (_parse(file) for file in sorted((service / _FOLDER).glob("*.py")))
    return {revision.name: revision for revision in found if revision is not None}


def _parse(file: Path) -> Revision | None:
    try:
        body = ast.parse(file.read_text("utf-8"), str(file)).body
    except SyntaxError as error:
        # Such as the marks of a conflict.
        raise FailureError("migrations", f"{file.name}:{error.lineno} is not Python", fix="correct the file") from error
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
    return Revision(file, ast.literal_eval(values["revision"]), frozenset(names), values["down_revision"].lineno)


def find_heads(known: Mapping[str, Revision]) -> list[str]:
    """The migrations that no other follows: one, unless two histories have to be joined. Numbers do not tell them."""
    return sorted(known.keys() - {name for revision in known.values() for name in revision.follows})


def choose_name(service: Path, *, is_own_project: bool) -> str:
    """A name that no migration has: ``a003`` after ``a002``; in a project of one's own from ``a501``."""
    found = [match for name in read(service) if (match := _NAME.fullmatch(name))]
    letter = found[0][1] if found else service.name[0]
    newest = max((int(match[2]) for match in found), default=0)
    return f"{letter}{max(newest + 1, FIRST_OWN if is_own_project else 1):03}"
