"""``kpi user``: what operators do to accounts, by the auth service's own commands.

What these ask for goes in by standard input, so that no password stands in a list of processes.
"""

import getpass
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kpi_cli import local, parts
from kpi_cli.errors import KPI, FailureError
from kpi_cli.layout import Layout

# 144 bits: a password that nobody needs to think up, and that no rule refuses.
_MADE_BYTES = 18
_COLUMNS = ("id", "username", "email", "role", "state", "created_at")


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


def ask_password(*, generate: bool) -> str:
    """A password that is made, typed twice at a terminal without being shown, or one line of standard input."""
    if generate:
        return secrets.token_urlsafe(_MADE_BYTES)
    if sys.stdin.isatty():
        return _typed()
    password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        raise FailureError("user", "standard input holds no password", fix="type one at a terminal, or add --generate")
    return password


def _typed() -> str:
    try:
        password = getpass.getpass("Password: ")
        again = getpass.getpass("Once more: ")
    except EOFError:
        raise FailureError("user", "no password was typed", fix="try again, or add --generate") from None
    if password != again:
        raise FailureError("user", "the two passwords differ", fix="try again")
    return password


def create(layout: Layout, *, username: str, email: str | None, role: Role, generate: bool) -> None:
    password = ask_password(generate=generate)
    asked = {"username": username, "email": email, "role": role.value, "password": password}
    made = _answer(layout, "create-user", asked)
    print(f"kpi: made the {made['role']} {made['username']} with id {made['id']}")
    _show_made(password, generate=generate)


def reset_password(layout: Layout, *, username: str, generate: bool) -> None:
    password = ask_password(generate=generate)
    done = _answer(layout, "reset-password", {"username": username, "password": password})
    print(f"kpi: {done['username']} has a new password; sessions that ended: {done['sessions_ended']}")
    _show_made(password, generate=generate)


def _show_made(password: str, *, generate: bool) -> None:
    if generate:
        print(f"password: {password}")
        local.tell("the password is shown this once, and is nowhere to be read again")


def show(layout: Layout, *, search: str | None, role: Role | None, limit: int) -> None:
    """Print accounts as a table for a terminal, and otherwise as lines with tabs."""
    asked = {"search": search, "role": role.value if role else None, "limit": limit}
    shown = _answer(layout, "list-users", asked)
    rows = [_row(item) for item in shown["items"]]
    if sys.stdout.isatty():
        _print_table(rows)
    else:
        print("\n".join("\t".join(row) for row in [_COLUMNS, *rows]))
    if shown["more"]:
        local.tell(f"there are more than these {len(rows)}: narrow it down by --search, or raise --limit")


def _row(item: dict[str, Any]) -> tuple[str, ...]:
    shown = item | {"state": "active" if item["is_active"] else "deactivated"}
    return tuple(str(shown[name] if shown[name] is not None else "-") for name in _COLUMNS)


def _print_table(rows: list[tuple[str, ...]]) -> None:
    table = Table(*_COLUMNS, box=None)
    for row in rows:
        # Plain text: nothing that somebody chose for a name or an address is an instruction to the terminal.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _answer(layout: Layout, command: str, asked: Mapping[str, object]) -> dict[str, Any]:
    """Run one of the service's commands and return its answer; its refusal is a FailureError."""
    with _environment(layout) as environment:
        result = subprocess.run(
            parts.command("auth", command),
            env=environment,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
        )
    if result.returncode:
        raise _refused(command, result)
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


@contextmanager
def _environment(layout: Layout) -> Iterator[dict[str, str]]:
    """The settings of the database that DATABASE_URL names, or else of the local stack's, running or stopped."""
    if parts.names_database():
        yield dict(os.environ)
        return
    with local.database(layout) as ports:
        local.migrate_where_needed(layout, ports)
        yield parts.environment(layout, "auth", ports)


def _refused(command: str, result: "subprocess.CompletedProcess[str]") -> FailureError:
    lines = result.stderr.splitlines()
    sentence = next((line for line in reversed(lines) if line.startswith("kpi-auth: ")), None)
    if sentence is not None:
        return FailureError("auth", sentence.removeprefix("kpi-auth: "), code=result.returncode)
    ended = f"{command} ended with exit code {result.returncode}"
    return FailureError("auth", ended, log=lines[-10:], fix=f"{KPI} doctor", code=result.returncode)
