"""The table of parts: a service is added by one row, and everything else follows."""

import json
import shutil
import signal
from pathlib import Path

import httpx
import kpi_cli
import psycopg
import pytest
from cli_harness import FAKES, Checkout
from kpi_cli import parts
from kpi_cli.errors import FailureError

TABLE = "PARTS: tuple[Part, ...] = (\n"
ROW = """    Part(
        name="billing",
        package="kpi_billing",
        folder="services/billing",
        port=8003,
        colour=33,
        has_database=True,
        needs_token_key=True,
    ),
"""


@pytest.fixture
def with_billing(empty_checkout: Checkout) -> Checkout:
    """A checkout whose command is a copy with one more row in its table, and no other change."""
    package = empty_checkout.folder / "command" / "kpi_cli"
    shutil.copytree(Path(kpi_cli.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    table = package / "parts.py"
    assert table.read_text().count(TABLE) == 1
    table.write_text(table.read_text().replace(TABLE, TABLE + ROW))
    empty_checkout.settings["PYTHONPATH"] = f"{package.parent}:{FAKES}"
    return empty_checkout


def test_a_service_that_is_added_by_one_row_is_started_migrated_checked_and_stopped(with_billing: Checkout) -> None:
    stack = with_billing.up()
    stack.wait_for("billing is ready")
    stack.wait_until_ready()
    facts = json.loads(with_billing.kpi("status", "-o", "json").stdout)
    url = Path(facts["billing_database_url_file"]).read_text().strip()
    with psycopg.connect(url) as connection:
        owner = connection.execute("SELECT current_user, current_database()").fetchone()
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    response = httpx.get(f"{facts['billing_url']}/invoices")
    stack.wait_for("billing  | GET /invoices")
    gateway = with_billing.kpi("env", "gateway").stdout
    doctor = json.loads(with_billing.kpi("doctor", "--json").stdout)
    running = len(with_billing.processes())

    assert stack.stop(signal.SIGINT) == 0
    assert with_billing.processes() == []
    assert stack.errors == ""
    assert response.status_code == 200
    assert owner == ("kpi_billing", "kpi_billing")
    assert revision == ("first",)
    assert f"BILLING_URL={facts['billing_url']}" in gateway
    assert len({address for name, address in facts.items() if name.endswith("_metrics_url")}) == len(parts.PARTS) + 1
    assert {"auth migrations", "content migrations", "billing migrations"} <= {
        finding["check"] for finding in doctor["findings"] if finding["ok"]
    }
    assert running == len(("postgres", "auth", "content", "gateway", "billing"))
    assert "GET /health/ready" in (with_billing.home / "logs" / "billing.log").read_text()


def test_commands_know_a_service_that_is_added_by_one_row(with_billing: Checkout) -> None:
    migrated = with_billing.kpi("migrate", "billing")
    with_billing.order("sick-billing")
    doctor = json.loads(with_billing.kpi("doctor", "--json").stdout)
    settings = with_billing.kpi("env", "billing")
    unknown = with_billing.kpi("run", "shipping")
    helped = with_billing.kpi("run", "--help")
    merged = with_billing.kpi("openapi")

    assert migrated.returncode == 0, migrated.stderr
    assert "billing is at the newest migration" in migrated.stdout
    wrong = {finding["check"]: finding["fix"] for finding in doctor["findings"] if not finding["ok"]}
    assert wrong["billing migrations"] == ".venv/bin/kpi migrate billing"
    assert "billing_database_url" in settings.stdout
    assert "paseto_verifier_keys.json" in settings.stdout
    assert "the parts are billing, auth, content and gateway" in unknown.stderr
    assert "billing 8003" in helped.stdout
    assert "migrate (billing, auth and content)" in helped.stdout
    assert set(json.loads(merged.stdout)["merged"]) == {"billing", "auth", "content"}


def test_names_colours_and_ports_of_the_parts_differ() -> None:
    for field in ("name", "package", "folder", "port", "colour"):
        assert len({getattr(part, field) for part in parts.PARTS}) == len(parts.PARTS), field


def test_an_unknown_part_is_one_sentence() -> None:
    with pytest.raises(FailureError, match="there is no such part; the parts are auth, content and gateway") as caught:
        parts.get_or_raise("billing")
    assert caught.value.code == 2
