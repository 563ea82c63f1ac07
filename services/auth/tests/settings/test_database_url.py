"""DATABASE_URL in the commands of the part: several hosts work, and no message shows a part of the password."""

import os
import subprocess
import sys

import pytest
from kpi_shared.testing.postgres import URL_VARIABLE, create_database
from kpi_shared.testing.process import clean_environment
from psycopg.conninfo import conninfo_to_dict


def run(secret_key: str, url: str, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment({"DATABASE_URL": url, "PASETO_SECRET_KEY": secret_key, "CONFIG_DIR": os.devnull})
    program = [sys.executable, "-m", "kpi_auth", *command]
    return subprocess.run(program, env=environment, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.parametrize("command", [("migrate",), ("check",), ("list-users",), ()])
def test_no_command_shows_the_tail_of_a_password(secret_key: str, command: tuple[str, ...]) -> None:
    result = run(secret_key, "postgresql://kpi:Head@Tail-word@127.0.0.1:9/kpi", *command)
    assert result.returncode != 0
    assert "DATABASE_URL: the address contains a misplaced @" in result.stdout + result.stderr
    assert "Tail-word" not in result.stdout + result.stderr
    assert "Head" not in result.stdout + result.stderr


def test_a_database_is_migrated_and_checked_on_the_second_of_two_hosts(secret_key: str, worker: str) -> None:
    name = f"auth_hosts_{worker}"
    create_database(name)
    server = conninfo_to_dict(os.environ[URL_VARIABLE])
    url = (
        f"postgresql:///{name}?user={server['user']}&host=127.0.0.1,{server['host']}&port=9,{server.get('port', '')}"
        "&target_session_attrs=read-write"
    )
    migrated = run(secret_key, url, "migrate")
    assert "the database is at" in migrated.stdout, migrated.stderr
    checked = run(secret_key, url, "check")
    assert "at migration" in checked.stdout, checked.stdout + checked.stderr
    assert checked.returncode == 0
