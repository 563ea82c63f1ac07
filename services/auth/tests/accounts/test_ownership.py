"""The users table has one owner: all SQL on it is in ``accounts``."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import kpi_auth

PACKAGE = Path(kpi_auth.__file__).parent
_NAMES_TABLE = re.compile(r"\b(from|join|update|into|table)\s+users\b|\busers\.\w", re.IGNORECASE)
# A command by its place: "kpi_auth.users.console:create_user".
_PLACE = re.compile(r"kpi_auth(\.\w+)+:\w+")


def statements(path: Path) -> Iterator[str]:
    """Every string of the module except docstrings, the targets of foreign keys, and the places of commands."""
    tree = ast.parse(path.read_text())
    kept = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    kept |= {id(call.args[0]) for call in ast.walk(tree) if isinstance(call, ast.Call) and _is_foreign_key(call)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in kept
        if is_text and not _PLACE.fullmatch(node.value):
            yield node.value


def _is_foreign_key(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == "ForeignKey"


def test_only_accounts_names_the_table_of_users() -> None:
    others = [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "accounts"]
    assert others
    assert not [(path, text) for path in others for text in statements(path) if _NAMES_TABLE.search(text)]


def test_the_check_finds_statements_in_accounts() -> None:
    for module in ("read_repository", "write_repository", "email_repository", "list_repository", "fragments"):
        assert any(_NAMES_TABLE.search(text) for text in statements(PACKAGE / "accounts" / f"{module}.py")), module


def test_other_nouns_join_the_table_only_where_a_second_statement_would_cost_too_much() -> None:
    """``TABLE`` stands for its name: other modules that need accounts call a repository of ``accounts``."""
    others = (path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE / "accounts")
    joining = {str(path.relative_to(PACKAGE)) for path in others if "accounts.fragments import" in path.read_text()}
    assert joining == {
        *("api_keys/repository.py", "codes/repository.py"),
        *("sessions/repository.py", "sessions/sign_in_repository.py"),
    }
