"""A replica of auth that stands still while clients refresh, and goes on later with what they had sent to it."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest
from kpi_shared.testing.process import PartProcess, free_port, launch_part, start_part, wait_until
from stack import Person, join, service_settings

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="these tests suspend parts of their own"),
]

SESSIONS = 5


@pytest.fixture
def settings(worker: str, secret_key: str) -> dict[str, str]:
    # Passwords are hashed cheaply: other tests run beside these, whose requests have the usual deadlines.
    cheap = {"ARGON2_MEMORY_KIB": "64", "ARGON2_TIME_COST": "1"}
    return service_settings(f"frozen_{worker}", secret_key)["auth"] | cheap


@pytest.fixture
def replicas(settings: dict[str, str], tmp_path: Path) -> Iterator[list[PartProcess]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(launch_part("kpi_auth", settings, log=tmp_path / f"auth{number}.log", is_patient=False))
            for number in range(2)
        ]


@pytest.fixture
def gateway(replicas: list[PartProcess], tmp_path: Path) -> Iterator[str]:
    upstreams = {
        "AUTH_URL": ",".join(replica.address for replica in replicas),
        "CONTENT_URL": f"http://127.0.0.1:{free_port()}",
        "RATE_LIMIT_ENABLED": "false",
    }
    with start_part("kpi_gateway", upstreams, log=tmp_path / "gateway.log", is_patient=False) as address:
        yield address


def refresh(gateway: str, token: str) -> str:
    """Send it until there is a response, as a client does that gives up on one soon."""
    for _ in range(50):
        try:
            with httpx.Client(base_url=gateway, timeout=0.5) as client:
                response = client.post("/api/v1/auth/refresh", json={"refresh_token": token})
        except httpx.TransportError:
            continue
        if response.status_code < 500:
            assert response.status_code == 200, response.text
            return str(response.json()["refresh_token"])
    raise AssertionError("no response from the replica that works")


def signs_of_reuse(settings: dict[str, str]) -> int:
    with psycopg.connect(settings["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM sessions WHERE end_reason IS NOT NULL").fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize("refreshes", [1, 3])
def test_no_session_ends_when_a_replica_stands_still(
    gateway: str, replicas: list[PartProcess], settings: dict[str, str], refreshes: int
) -> None:
    with httpx.Client(base_url=gateway) as client:
        people: list[Person] = [join(client) for _ in range(SESSIONS)]
    tokens = [person.refresh_token for person in people]
    for _ in range(2):
        with replicas[0].suspend():
            for _ in range(refreshes):
                tokens = [refresh(gateway, token) for token in tokens]
        # It has worked off what it had received as soon as it answers a new request.
        wait_until(lambda: httpx.get(f"{replicas[0].address}/health/ready", timeout=5).is_success)
        tokens = [refresh(gateway, token) for token in tokens]
    assert signs_of_reuse(settings) == 0
