"""Operators' commands on accounts, with a stand-in for the auth service."""

import itertools
import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest
from cli_harness import Checkout

# The tests of one worker share a database, so each account has a name of its own.
NAMES = (f"person{number}" for number in itertools.count(1))
PASSWORD = "a quiet red bicycle"


def request(checkout: Checkout) -> dict[str, Any]:
    """What the service's command got on standard input."""
    given: dict[str, Any] = json.loads((checkout.orders / "request.json").read_text())
    assert PASSWORD not in str(given.pop("arguments"))
    return given


def test_an_account_is_created_in_a_stopped_stack_with_a_password_from_standard_input(checkout: Checkout) -> None:
    name = next(NAMES)
    made = checkout.kpi("user", "create", "--role", "admin", name, "--email", "a@b.example", stdin=f"{PASSWORD}\n")
    assert made.returncode == 0, made.stderr
    assert f"kpi: created the admin {name} with id 7" in made.stdout
    assert PASSWORD not in made.stdout + made.stderr
    assert request(checkout) == {"username": name, "email": "a@b.example", "role": "admin", "password": PASSWORD}
    assert checkout.processes() == []
    again = checkout.kpi("user", "create", name, stdin=PASSWORD)
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1] == "kpi: auth: This username is taken"


def test_a_running_stack_keeps_running(checkout: Checkout) -> None:
    stack = checkout.up().wait_until_ready()
    done = checkout.kpi("user", "reset-password", "ada", stdin=PASSWORD)
    assert done.returncode == 0, done.stderr
    assert "kpi: ada has a new password; sessions ended: 2" in done.stdout
    assert request(checkout) == {"username": "ada", "password": PASSWORD}
    assert stack.get("/") == b"ok"
    assert stack.stop() == 0


def test_a_generated_password_is_shown_once_and_differs_each_time(checkout: Checkout) -> None:
    made = set()
    for name in (next(NAMES), next(NAMES)):
        result = checkout.kpi("user", "create", name, "--generate")
        assert result.returncode == 0, result.stderr
        password = result.stdout.splitlines()[-1].removeprefix("password: ")
        assert request(checkout)["password"] == password
        assert password not in result.stderr
        made.add(password)
    assert len(made) == 2
    assert all(len(password) >= 24 for password in made)


def test_no_password_is_one_sentence_before_anything_starts(checkout: Checkout) -> None:
    result = checkout.kpi("user", "create", "ada")
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == "kpi: user: standard input contains no password"
    assert "its database is started" not in result.stderr


def test_a_broken_command_shows_its_last_lines(checkout: Checkout) -> None:
    checkout.order("broken-auth")
    result = checkout.kpi("user", "reset-password", "ada", stdin=PASSWORD)
    assert result.returncode == 1
    assert "kpi: auth: reset-password ended with exit code 1" in result.stderr
    assert "auth | Traceback: something is broken" in result.stderr
    assert PASSWORD not in result.stderr


def test_a_list_is_lines_with_tabs_where_there_is_no_terminal(checkout: Checkout) -> None:
    result = checkout.kpi("user", "list", "--search", "a", "--role", "user", "--limit", "2")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-3:] == [
        "id\tusername\temail\trole\tstate\tcreated_at",
        "1\tada\t-\tuser\tactive\t2026-01-01T00:00:00Z",
        "2\tgrace\t[red]g@x\tuser\tdeactivated\t2026-01-01T00:00:00Z",
    ]
    assert "only the first 2 are shown" in result.stderr
    assert request(checkout) == {"search": "a", "role": "user", "limit": 2}


def test_the_database_that_database_url_names_is_used(checkout: Checkout) -> None:
    stack = checkout.up().wait_until_ready()
    url = (checkout.home / "secrets" / "auth_database_url").read_text().strip()
    name = next(NAMES)
    result = checkout.kpi("user", "create", name, stdin=PASSWORD, DATABASE_URL=url)
    away = checkout.kpi("user", "create", name, stdin=PASSWORD, DATABASE_URL="postgresql://a:password@127.0.0.1:1/none")
    stack.stop()
    assert result.returncode == 0, result.stderr
    assert away.returncode == 1
    assert "kpi: auth: create-user ended with exit code 1" in away.stderr


def _start_at_terminal(checkout: Checkout, *words: str) -> tuple["subprocess.Popen[bytes]", int]:
    """Start ``kpi user`` at a terminal of its own; returns the process and the other end of the terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kpi_cli", "user", *words],
        env=checkout.environment(),
        cwd=checkout.folder,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    return process, master


@pytest.mark.parametrize(("again", "code"), [(PASSWORD, 0), ("another one", 1)])
def test_a_password_is_asked_for_twice_at_a_terminal_and_not_shown(checkout: Checkout, again: str, code: int) -> None:
    process, master = _start_at_terminal(checkout, "reset-password", "ada")
    shown = _until(master, b"Password: ")
    os.write(master, f"{PASSWORD}\n".encode())
    shown += _until(master, b"Repeat password: ")
    os.write(master, f"{again}\n".encode())
    shown += _until(master, None)
    assert process.wait(60) == code, shown
    os.close(master)
    assert PASSWORD.encode() not in shown
    if code:
        assert b"the two passwords differ" in shown
    else:
        assert request(checkout)["password"] == PASSWORD


@pytest.mark.parametrize("command", ["create", "reset-password"])
def test_the_name_is_judged_before_a_password_is_asked_for(checkout: Checkout, command: str) -> None:
    process, master = _start_at_terminal(checkout, command, "refused")
    shown = _until(master, None).decode()
    assert process.wait(60) == 1
    os.close(master)
    assert shown.splitlines()[-1] == "kpi: auth: username: this name is refused"
    assert "Password" not in shown
    assert checkout.processes() == []


def _until(master: int, text: bytes | None) -> bytes:
    """What the terminal shows up to a text, or to the end of the program."""
    shown = b""
    while text is None or text not in shown:
        try:
            shown += os.read(master, 4096)
        except OSError:
            # Linux reports this for a terminal that no process has open.
            break
    return shown


@pytest.mark.parametrize("command", ["create", "reset-password"])
def test_the_name_is_judged_before_a_password_from_standard_input(checkout: Checkout, command: str) -> None:
    result = checkout.kpi("user", command, "refused", stdin="x")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "kpi: auth: username: this name is refused"
