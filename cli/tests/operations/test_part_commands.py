"""``kpi run``, ``kpi env`` and ``kpi migrate``, with stand-ins for the parts."""

import json
import subprocess
from pathlib import Path

import pytest
from cli_harness import Checkout
from kpi_cli import parts


def test_migrate_uses_the_database_that_database_url_names(checkout: Checkout) -> None:
    stack = checkout.up().wait_until_ready()
    url = (checkout.home / "secrets" / "auth_database_url").read_text().strip()
    named = checkout.kpi("migrate", "auth", DATABASE_URL=url)
    unnamed = checkout.kpi("migrate", DATABASE_URL=url)
    without = checkout.kpi("migrate", "gateway")
    stack.stop()
    assert named.returncode == 0
    assert "auth is at the newest migration" in named.stdout
    assert unnamed.returncode == 1
    assert "DATABASE_URL names one database" in unnamed.stderr
    assert without.returncode == 2
    with_database = parts.join_names(parts.WITH_DATABASE, "and")
    assert without.stderr == f"kpi: gateway: it has no database; the parts with one are {with_database}\n"


def test_run_passes_options_and_the_exit_code_on(checkout: Checkout) -> None:
    helped = checkout.kpi("run", "auth", "--help")
    failed = checkout.kpi("run", "auth", "--nonsense")
    unknown = checkout.kpi("run", "unknown")
    assert helped.returncode == 0
    assert "--port" in helped.stdout
    assert failed.returncode == 2
    assert unknown.returncode == 2
    assert f"there is no such part; the parts are {parts.join_names(parts.PARTS, 'and')}" in unknown.stderr


@pytest.mark.parametrize(
    ("part", "wanted"),
    [("content", "$DATABASE_URL_FILE$DATABASE_URL"), ("auth", "$PASETO_KEYS_FILE"), ("gateway", "$AUTH_URL")],
)
def test_env_prints_settings_for_a_shell(checkout: Checkout, part: str, wanted: str) -> None:
    # DATABASE_URL would take precedence over the file, so it is removed.
    result = checkout.kpi("env", part, DATABASE_URL="postgresql://other@127.0.0.1:1/none")
    assert result.returncode == 0, result.stderr
    script = f"DATABASE_URL=other; {result.stdout}\necho {wanted}"
    value = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    port = json.loads((checkout.home / "ports.json").read_text())["auth"]
    assert value == f"http://127.0.0.1:{port}" if part == "gateway" else Path(value).exists()


def test_env_before_the_first_start_is_one_sentence(empty_checkout: Checkout) -> None:
    result = empty_checkout.kpi("env", "auth")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "kpi: auth: the local stack has no settings yet" in result.stderr


def test_run_without_settings_names_those_of_the_local_stack(checkout: Checkout) -> None:
    fix = 'eval "$(.venv/bin/kpi env auth)"'
    assert fix in checkout.kpi("run", "auth", "--nonsense").stderr
    assert fix not in checkout.kpi("run", "auth", "--nonsense", DATABASE_URL="postgresql://a:b@127.0.0.1:1/c").stderr
