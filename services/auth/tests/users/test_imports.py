"""The import of users, as a real process."""

import io
import json
import subprocess
import sys

import httpx
from auth_support import registration
from fastapi import FastAPI
from kpi_auth.settings import AuthSettings
from kpi_shared.testing.process import clean_environment


def _run_import(settings: AuthSettings, lines: list[str]) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment(
        {
            "DATABASE_URL": settings.database_url.get_secret_value(),
            "PASETO_SECRET_KEY": settings.paseto_secret_key.get_secret_value(),
        }
    )
    command = [sys.executable, "-m", "kpi_auth", "import-users"]
    return subprocess.run(command, env=environment, input="\n".join(lines), capture_output=True, text=True, check=False)


async def test_import_adds_each_user_once_and_prints_all_ids(
    shared_client: httpx.AsyncClient, settings: AuthSettings, running_app: FastAPI
) -> None:
    names = ["ch", "Yk", "anna.b", "anna-c"]
    lines = [json.dumps({"username": name, "created_at": "2015-09-06T05:56:00Z"}) for name in names]
    first, second = _run_import(settings, lines), _run_import(settings, lines)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    ids = [json.loads(line) for line in io.StringIO(first.stdout)]
    assert [user["username"] for user in ids] == names
    assert len({user["id"] for user in ids}) == 4
    assert second.stdout == first.stdout
    refused = await shared_client.post("/auth/login", json={"username": "ch", "password": "any password"})
    assert refused.status_code == 401


async def test_import_refuses_the_name_of_a_registered_user(
    shared_client: httpx.AsyncClient, settings: AuthSettings
) -> None:
    assert (await shared_client.post("/users", json=registration("anna"))).status_code == 201
    # More than one batch of names comes before the one that is refused.
    others = [f'{{"username": "other-{number}"}}' for number in range(2001)]
    result = _run_import(settings, [*others, '{"username": "Anna"}'])
    assert result.returncode == 1
    assert result.stderr == "kpi-auth: the name 'Anna' cannot be imported: it belongs to a registered user\n"
    assert result.stdout == ""
    # Nothing of it was imported: the names are still free.
    assert (await shared_client.post("/users", json=registration("other-0"))).status_code == 201


def test_import_reports_an_invalid_line_and_adds_nothing(settings: AuthSettings) -> None:
    result = _run_import(settings, ['{"username": "fine"}', '{"username": "not fine"}'])
    assert result.returncode == 1
    assert "line 2: field username" in result.stderr
    assert result.stdout == ""
