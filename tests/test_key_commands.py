"""``kpi bootstrap`` and ``kpi api-key`` against the real auth service's commands and database."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kpi_shared.testing.process import clean_environment
from stack import service_settings


@pytest.fixture(scope="module")
def settings(worker: str, secret_key: str) -> dict[str, str]:
    return service_settings(f"commands_{worker}", secret_key)["auth"]


def run(settings: dict[str, str], *words: str) -> "subprocess.CompletedProcess[str]":
    environment = clean_environment(settings)
    checkout = Path(__file__).parent.parent
    command = [sys.executable, "-m", "kpi_cli", *words]
    return subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, check=False)


def run_json(settings: dict[str, str], *words: str) -> dict[str, Any]:
    result = run(settings, *words, "--json")
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_first_admin_gets_a_key_and_manages_others(settings: dict[str, str]) -> None:
    made = run(settings, "bootstrap", "--username", "root")
    assert made.returncode == 0, made.stderr
    assert "made the admin root" in made.stdout
    assert "\nkey: kpi_test_1_" in made.stdout
    assert "keep both" in made.stderr
    again = run(settings, "bootstrap")
    assert again.returncode == 1
    assert again.stderr.splitlines()[-1].startswith("kpi: auth: This installation already has an admin")

    key = run_json(settings, "api-key", "create", "root", "--name", "import", "--scopes", "read,write")
    assert (key["name"], key["scopes"]) == ("import", ["read", "write"])
    ending = run_json(
        settings, "api-key", "create", "root", "--name", "x", "--expires-in", "1h", "--network", "192.0.2.1"
    )
    assert (ending["scopes"], ending["allowed_networks"]) == (["read"], ["192.0.2.1/32"])
    rotated = run_json(settings, "api-key", "rotate", str(key["id"]), "--grace", "15m")
    assert (rotated["replaces"], rotated["scopes"]) == (key["id"], ["read", "write"])
    assert run_json(settings, "api-key", "revoke", str(ending["id"])) == {"id": ending["id"]}
    listed = run_json(settings, "api-key", "list", "--user", "root")["items"]
    assert [item["id"] for item in listed] == [rotated["id"], key["id"], 1]
    assert key["key"] not in json.dumps(listed)
    lines = run(settings, "api-key", "list").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["id", *(str(item["id"]) for item in listed)]


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["rotate", "999"], 1, "kpi: auth: There is no API key 999"),
        (["create", "nobody", "--name", "x"], 1, "kpi: auth: There is no user 'nobody'"),
        (["create", "root", "--name", "x", "--expires-in", "soon"], 2, "kpi: api-key: 'soon' is not a time"),
    ],
)
def test_a_refusal_is_one_sentence(settings: dict[str, str], words: list[str], code: int, sentence: str) -> None:
    result = run(settings, "api-key", *words)
    assert result.returncode == code
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
