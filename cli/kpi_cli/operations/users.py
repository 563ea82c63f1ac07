"""``kpi user``: an operator's changes to accounts, through the auth service's own commands.

Their input is passed on standard input, so that no password appears in the list of processes.
"""

import getpass
import json
import secrets
import sys
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from kpi_cli.errors import FailureError
from kpi_cli.layout import Layout
from kpi_cli.operations import auth_commands, tables
from kpi_cli.stack import local_database

# 144 bits of randomness, and long enough for every password rule.
_GENERATED_BYTES = 18
_COLUMNS = ("id", "username", "email", "role", "state", "created_at")


class Role(StrEnum):
    """What an account may do."""

    USER = "user"
    ADMIN = "admin"


def ask_password(*, generate: bool) -> str:
    """A generated password, one that is typed twice at a terminal without echo, or a line of standard input."""
    if generate:
        return secrets.token_urlsafe(_GENERATED_BYTES)
    if sys.stdin.isatty():
        return _prompt_twice()
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise FailureError(
            "user", "standard input contains no password", fix="type it at a terminal, or add --generate"
        )
    return password


def _prompt_twice() -> str:
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("Repeat password: ")
    except EOFError:
        raise FailureError("user", "no password was typed", fix="try again, or add --generate") from None
    if password != again:
        raise FailureError("user", "the two passwords differ", fix="try again")
    return password


def create(layout: Layout, *, username: str, email: str | None, role: Role, generate: bool, as_json: bool) -> None:
    """Create an account."""
    request = {"username": username, "email": email, "role": role.value}
    user, password = _run_with_password(layout, "check-new-user", "create-user", request, generate=generate)
    if as_json:
        _print_json(user, password, generate=generate)
        return
    print(f"kpi: created the {user['role']} {user['username']} with id {user['id']}")
    _show_generated(password, generate=generate)


def reset_password(layout: Layout, *, username: str, generate: bool, as_json: bool) -> None:
    """Replace the password of an account."""
    request = {"username": username}
    result, password = _run_with_password(layout, "check-user", "reset-password", request, generate=generate)
    if as_json:
        _print_json(result, password, generate=generate)
        return
    print(f"kpi: {result['username']} has a new password; sessions ended: {result['sessions_ended']}")
    _show_generated(password, generate=generate)


def _run_with_password(
    layout: Layout, check: str, command: str, request: Mapping[str, object], *, generate: bool
) -> tuple[dict[str, Any], str]:
    """Run a command with a password, after the service has checked the rest: a person is asked only then."""
    given = "" if sys.stdin.isatty() and not generate else ask_password(generate=generate)
    with auth_commands.environment(layout) as environment:
        auth_commands.run(environment, check, request)
        password = given or ask_password(generate=False)
        return auth_commands.run(environment, command, {**request, "password": password}), password


def _print_json(result: Mapping[str, Any], password: str, *, generate: bool) -> None:
    """With the password only if the caller does not know it."""
    print(json.dumps({**result, "password": password} if generate else result))


def _show_generated(password: str, *, generate: bool) -> None:
    if generate:
        print(f"password: {password}")
        local_database.report("the password is shown only once and cannot be retrieved later")


def print_list(layout: Layout, *, search: str | None, role: Role | None, limit: int, as_json: bool) -> None:
    """Print accounts as JSON, as a table at a terminal, and otherwise as lines with tabs."""
    request = {"search": search, "role": role.value if role else None, "limit": limit}
    with auth_commands.environment(layout) as environment:
        found = auth_commands.run(environment, "list-users", request)
    if as_json:
        print(json.dumps(found))
        return
    items = found["items"]
    tables.print_rows(_COLUMNS, [{**item, "state": _describe_state(item)} for item in items])
    if found["more"]:
        local_database.report(f"only the first {len(items)} are shown: narrow the list with --search, or raise --limit")


def _describe_state(item: Mapping[str, Any]) -> str:
    return "active" if item["is_active"] else "deactivated"
