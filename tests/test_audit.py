"""The audit trail with two auth processes behind the gateway: one chain, ``kpi audit verify``, and an export."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from kpi_shared.testing.process import clean_environment, read_log, start_part, wait_until
from stack import PASSWORD, join, service_settings

pytestmark = pytest.mark.e2e
MANY = 20_000
_ADD_MANY = "INSERT INTO audit_events (event, details) SELECT 'user.changed', '{}' FROM generate_series(1, 20000)"
# What the owner does to the record at place 20, and how many records are verified before it.
TAMPERING = [
    ("changed", 19, ["UPDATE audit_events SET actor_id = actor_id + 1 WHERE seq = 20"]),
    ("removed", 19, ["DELETE FROM audit_events WHERE seq = 20"]),
    (
        "put-in",
        20,
        [
            "DROP INDEX uq_audit_events_seq",
            "INSERT INTO audit_events (event, seq, hash) SELECT event, seq, hash FROM audit_events WHERE seq = 20",
        ],
    ),
]


@dataclass(frozen=True)
class Platform:
    gateway: str
    auth_logs: list[Path]
    settings: dict[str, str]

    def sql(self, *statements: str) -> list[Any]:
        """As the owner of the database, who switches the triggers off; returns the rows of the last statement."""
        with psycopg.connect(self.settings["DATABASE_URL"]) as connection:
            connection.execute("ALTER TABLE audit_events DISABLE TRIGGER USER")
            *_, result = [connection.execute(statement) for statement in statements]
            rows = result.fetchall() if result.description else []
            connection.execute("ALTER TABLE audit_events ENABLE TRIGGER USER")
            return rows

    def verify(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        command = [sys.executable, "-m", "kpi_cli", "audit", "verify", "--json", *arguments]
        environment = clean_environment(self.settings)
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode in {0, 3}, result.stderr
        return result.returncode, json.loads(result.stdout)

    def wait_until_chained(self) -> None:
        wait_until(lambda: self.sql("SELECT count(*) FROM audit_events WHERE seq IS NULL") == [(0,)])


@pytest.fixture(scope="module")
def platform(worker: str, secret_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    folder = tmp_path_factory.mktemp("audit")
    settings = service_settings(f"audit_{worker}", secret_key)["auth"]
    logs = [folder / f"auth{number}.log" for number in (1, 2)]
    with ExitStack() as parts:
        addresses = [parts.enter_context(start_part("kpi_auth", settings, log=log)) for log in logs]
        gateway = {"RATE_LIMIT_ENABLED": "false", "AUTH_URL": ",".join(addresses), "CONTENT_URL": addresses[0]}
        address = parts.enter_context(start_part("kpi_gateway", gateway, log=folder / "gateway.log"))
        yield Platform(address, logs, settings)


@pytest.fixture
def client(platform: Platform) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.gateway, timeout=30) as client:
        yield client


def sign_in_often(client: httpx.Client, number: int) -> None:
    body = {"username": join(client).username, "password": PASSWORD}
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: client.post("/api/v1/auth/login", json=body), range(number)))
    assert {response.status_code for response in responses} == {200}


def test_two_processes_make_one_chain_and_verify_names_what_its_owner_does(
    platform: Platform, client: httpx.Client
) -> None:
    sign_in_often(client, 40)
    platform.wait_until_chained()
    for log in platform.auth_logs:
        assert read_log(log, event="audit"), "both have written records"
    code, whole = platform.verify()
    assert (code, whole["problem"], whole["waiting"]) == (0, None, 0)
    assert whole["records"] >= 42
    platform.sql("CREATE TABLE kept AS SELECT * FROM audit_events")
    for wrong, records, statements in TAMPERING:
        platform.sql(*statements)
        code, broken = platform.verify()
        assert (code, broken["problem"]["wrong"], broken["records"]) == (3, wrong, records)
        insert = "INSERT INTO audit_events OVERRIDING SYSTEM VALUE SELECT * FROM kept"
        platform.sql("DELETE FROM audit_events", insert)
        assert platform.verify("--head", whole["head"])[0] == 0


def test_an_export_of_many_records_passes_the_gateway_and_a_client_may_leave_it(
    platform: Platform, client: httpx.Client
) -> None:
    person = join(client)
    platform.sql("UPDATE users SET role = 'admin'", _ADD_MANY)
    headers = {**person.headers, "Accept": "application/x-ndjson"}
    for _ in range(8):
        with client.stream("GET", "/api/v1/audit", headers=headers) as response:
            assert response.headers["content-type"] == "application/x-ndjson"
            assert next(response.iter_lines()).startswith('{"id":')
    with client.stream("GET", "/api/v1/audit", params={"event": "user.changed"}, headers=headers) as response:
        ids = [json.loads(line)["id"] for line in response.iter_lines()]
    assert len(ids) == MANY
    assert ids == sorted(set(ids), reverse=True)
    # Those that were left hold nothing: there are fewer connections for reads than clients have left.
    assert client.get("/api/v1/audit", headers=person.headers).status_code == 200
