"""``python -m kpi_shared.testing.check_sql FOLDER ...``: check that only repositories contain SQL.

It finds every use of SQLAlchemy's ``select``, ``insert``, ``update``, ``delete`` and ``text``, whatever name or module
it was imported by, and every statement that is passed to a connection as a string. Both are allowed in files named
``*repository.py`` and in folders named ``repository``. Migrations and tests are not read.
"""

import ast
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_LIBRARIES = {"sqlalchemy", "sqlmodel"}
_CONSTRUCTORS = {"select", "insert", "update", "delete", "text"}
# Server defaults, index conditions and constraints are parts of a table's definition, and no statements.
_ALLOWED_IN_MODELS = {"text"}
# The methods of SQLAlchemy and psycopg that take a statement; ``stream`` is missing, which an HTTP client has too.
_EXECUTORS = {"execute", "executemany", "exec_driver_sql", "scalar", "scalars", "copy"}
_UNREAD_FOLDERS = {"migrations", "tests"}


class Finding(NamedTuple):
    line: int
    message: str


def main(folders: Sequence[str]) -> int:
    findings = [finding for folder in folders for finding in check_folder(Path(folder))]
    for finding in findings:
        print(finding, file=sys.stderr)
    return 1 if findings else 0


def check_folder(folder: Path) -> list[str]:
    """What is wrong in the folder, with the file and the line of each."""
    if not folder.is_dir():
        raise SystemExit(f"check_sql: {folder} is not a folder")
    return [
        f"{path}:{finding.line}: {finding.message}"
        for path in sorted(folder.rglob("*.py"))
        if _is_read(path.relative_to(folder))
        for finding in check_file(path)
    ]


def _is_read(path: Path) -> bool:
    *folders, name = path.parts
    is_repository = name.endswith("repository.py") or "repository" in folders
    return not is_repository and not any(part in _UNREAD_FOLDERS or part.startswith(".") for part in folders)


def check_file(path: Path) -> list[Finding]:
    allowed = _ALLOWED_IN_MODELS if path.name == "models.py" else set()
    tree = ast.parse(path.read_bytes(), filename=str(path))
    return sorted({*_find_constructors(tree, forbidden=_CONSTRUCTORS - allowed), *_find_literals(tree)})


def _find_constructors(tree: ast.Module, *, forbidden: set[str]) -> Iterator[Finding]:
    """A use is found by the name that its module and itself were imported by."""
    imported = _imports(tree)
    for node in ast.walk(tree):
        path = (_full_name(node, imported) or "").split(".")
        if path[0] in _LIBRARIES and path[-1] in forbidden:
            assert isinstance(node, ast.expr)
            message = f"{path[-1]}() of {path[0]} makes SQL: move the statement to a *repository.py."
            yield Finding(node.lineno, message)


def _imports(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for, as a full dotted name."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                # ``import a.b`` binds ``a``; with ``as`` it binds the module itself.
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _full_name(node: ast.AST, imported: dict[str, str]) -> str | None:
    """``sa.text`` as ``sqlalchemy.text``; None for anything but a name or a chain of attributes."""
    if isinstance(node, ast.Name):
        return imported.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _full_name(node.value, imported)
        return f"{owner}.{node.attr}" if owner else None
    return None


def _find_literals(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=attr), args=[first, *_]) if attr in _EXECUTORS and _is_text(first):
                message = f"{attr}() is given SQL as a string: move the statement to a *repository.py."
                yield Finding(node.lineno, message)


def _is_text(node: ast.expr) -> bool:
    """A string or bytes literal, or an expression that puts one together."""
    if isinstance(node, ast.BinOp):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
