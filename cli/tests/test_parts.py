"""The table of parts: a service is added by one row, and everything else follows."""

import gc
import importlib
import json
import pkgutil
import shutil
import signal
from pathlib import Path

import httpx
import kpi_cli
import psycopg
import pytest
from cli_harness import Checkout, make_stand_in
from kpi_cli import parts
from kpi_cli.errors import FailureError

TABLE = "PARTS: tuple[Part, ...] = (\n"
ROW = """    Part(
        name="newcomer",
        package="kpi_newcomer",
        folder="services/newcomer",
        port=8099,
        colour=0,
        uid=10099,
        has_database=True,
        needs_token_key=True,
    ),
"""


@pytest.mark.parametrize("part", parts.PARTS, ids=lambda part: part.name)
def test_each_command_of_a_part_is_a_function(part: parts.Part) -> None:
    try:
        program = importlib.import_module(f"{part.package}.__main__")
    finally:
        # The program suspends it.
        gc.enable()
    assert program.COMMANDS
    for command, name in program.COMMANDS.items():
        assert callable(pkgutil.resolve_name(name)), command


@pytest.fixture
def with_newcomer(empty_checkout: Checkout) -> Checkout:
    """A checkout whose command is a copy with one more row in its table, and no other change."""
    package = empty_checkout.folder / "command" / "kpi_cli"
    shutil.copytree(Path(kpi_cli.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    table = package / "parts.py"
    assert table.read_text().count(TABLE) == 1
    table.write_text(table.read_text().replace(TABLE, TABLE + ROW))
    make_stand_in(package.parent, "newcomer")
    empty_checkout.settings["PYTHONPATH"] = f"{package.parent}:{empty_checkout.settings['PYTHONPATH']}"
    return empty_checkout


def test_a_service_that_is_added_by_one_row_is_started_migrated_checked_and_stopped(with_newcomer: Checkout) -> None:
    stack = with_newcomer.up()
    stack.wait_for("newcomer is ready")
    stack.wait_until_ready()
    facts = json.loads(with_newcomer.kpi("status", "-o", "json").stdout)
    url = Path(facts["newcomer_database_url_file"]).read_text().strip()
    with psycopg.connect(url) as connection:
        owner = connection.execute("SELECT current_user, current_database()").fetchone()
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    response = httpx.get(f"{facts['newcomer_url']}/invoices")
    stack.wait_for("newcomer | GET /invoices")
    gateway = with_newcomer.kpi("env", "gateway").stdout
    doctor = json.loads(with_newcomer.kpi("doctor", "--json").stdout)
    running = len(with_newcomer.processes())

    assert stack.stop(signal.SIGINT) == 0
    assert with_newcomer.processes() == []
    assert stack.errors == ""
    assert response.status_code == 200
    assert owner == ("kpi_newcomer", "kpi_newcomer")
    assert revision == ("first",)
    assert f"NEWCOMER_URL={facts['newcomer_url']}" in gateway
    assert len({address for name, address in facts.items() if name.endswith("_metrics_url")}) == len(parts.PARTS) + 1
    assert {"auth migrations", "content migrations", "newcomer migrations"} <= {
        finding["check"] for finding in doctor["findings"] if finding["ok"]
    }
    assert running == len(parts.PARTS) + len(("postgres", "newcomer"))
    assert "GET /health/ready" in (with_newcomer.home / "logs" / "newcomer.log").read_text()


def test_commands_know_a_service_that_is_added_by_one_row(with_newcomer: Checkout) -> None:
    migrated = with_newcomer.kpi("migrate", "newcomer")
    with_newcomer.order("sick-newcomer")
    doctor = json.loads(with_newcomer.kpi("doctor", "--json").stdout)
    settings = with_newcomer.kpi("env", "newcomer")
    unknown = with_newcomer.kpi("run", "shipping")
    helped = with_newcomer.kpi("run", "--help")
    merged = with_newcomer.kpi("openapi")

    assert migrated.returncode == 0, migrated.stderr
    assert "newcomer is at the newest migration" in migrated.stdout
    wrong = {finding["check"]: finding["fix"] for finding in doctor["findings"] if not finding["ok"]}
    assert wrong["newcomer migrations"] == ".venv/bin/kpi migrate newcomer"
    assert "newcomer_database_url" in settings.stdout
    assert "paseto_verifier_keys.json" in settings.stdout
    assert f"the parts are newcomer, {parts.join_names(parts.PARTS, 'and')}" in unknown.stderr
    assert "newcomer 8099" in helped.stdout
    assert f"migrate (newcomer, {parts.join_names(parts.WITH_DATABASE, 'and')})" in helped.stdout
    assert set(json.loads(merged.stdout)["merged"]) == {"newcomer", *(part.name for part in parts.SERVICES)}


def test_names_colours_and_ports_of_the_parts_differ() -> None:
    for field in ("name", "package", "folder", "port", "uid"):
        assert len({getattr(part, field) for part in parts.PARTS}) == len(parts.PARTS), field
    # There are twelve colours, which begin again when all are used.
    assert len({part.colour for part in parts.PARTS}) == min(12, len(parts.PARTS))


def test_an_unknown_part_is_one_sentence() -> None:
    known = parts.join_names(parts.PARTS, "and")
    with pytest.raises(FailureError, match=f"there is no such part; the parts are {known}") as caught:
        parts.get_or_raise("newcomer")
    assert caught.value.code == 2
