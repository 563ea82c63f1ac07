"""Two auth processes and a NATS server, each of which is killed."""

import asyncio
import json
import secrets
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from auth_support import PASSWORD, registration
from kpi_auth.settings import AuthSettings
from kpi_shared.database import Database
from kpi_shared.testing.metrics import Scrape
from kpi_shared.testing.nats_server import Broker, run_broker
from kpi_shared.testing.postgres import create_migrated_database
from kpi_shared.testing.process import PartProcess, free_port, launch_part, read_log, run_command, wait_for_records
from nats_support import client, read_stream
from outlet_support import assert_complete, outlet, until_delivered
from pydantic import SecretStr


@pytest.fixture
def environment(worker: str, secret_key: str) -> dict[str, str]:
    return {
        "DATABASE_URL": create_migrated_database("kpi_auth", f"auth_outlets_{worker}_{secrets.token_hex(2)}"),
        "PASETO_SECRET_KEY": secret_key,
        "AUTH_SECRET_KEY": secrets.token_hex(32),
        "ARGON2_MEMORY_KIB": "64",
        "ARGON2_TIME_COST": "1",
    }


@pytest.fixture
async def database(environment: dict[str, str], secret_key: str) -> AsyncIterator[Database]:
    url = SecretStr(environment["DATABASE_URL"])
    database = Database(AuthSettings(database_url=url, paseto_secret_key=SecretStr(secret_key)))
    yield database
    await database.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with run_broker(tmp_path) as broker:
        yield broker


async def work(auth: PartProcess, name: str, *, times: int) -> None:
    """Register, and sign in and out again and again; each is an event. Ends quietly when the process is killed."""
    try:
        async with httpx.AsyncClient(base_url=auth.address, timeout=20) as client:
            assert (await client.post("/users", json=registration(name))).status_code == 201
            for _ in range(times):
                tokens = await client.post("/auth/login", json={"username": name, "password": PASSWORD})
                headers = {"Authorization": f"Bearer {tokens.json()['access_token']}"}
                assert (await client.post("/auth/logout", headers=headers)).status_code == 204
    except httpx.TransportError:
        await asyncio.to_thread(auth.process.wait, 10)


async def test_kills_of_the_process_at_work_and_of_the_server_lose_nothing_and_keep_the_order(
    environment: dict[str, str], database: Database, broker: Broker, tmp_path: Path
) -> None:
    settings = {**environment, "EVENTS_NATS_URL": broker.url}

    async def start(stack: ExitStack, name: str) -> PartProcess:
        launch = launch_part("kpi_auth", settings, log=tmp_path / f"{name}.log")
        return await asyncio.to_thread(stack.enter_context, launch)

    with ExitStack() as stack:
        first = await start(stack, "first")
        await work(first, "anna", times=1)
        await until_delivered(database)
        # So it has the lease, and keeps it.
        second = await start(stack, "second")
        working = asyncio.gather(
            *(work(auth, f"user{turn}of{auth.port}", times=20) for auth in (first, second) for turn in range(3))
        )
        await asyncio.sleep(0.4)
        await asyncio.to_thread(broker.kill)
        await asyncio.to_thread(first.kill)
        await asyncio.to_thread(broker.start)
        await working
        await until_delivered(database)
    async with client(broker) as stream:
        await assert_complete(database, await read_stream(stream))


async def test_a_server_that_refuses_is_named_in_log_and_metrics_and_harms_nothing(
    environment: dict[str, str], database: Database, tmp_path: Path
) -> None:
    metrics_port = free_port()
    with run_broker(tmp_path, 'authorization { user: kpi, password: "of-the-server" }') as broker:
        url = broker.url.replace("nats://", "nats://kpi:of-another-server@")
        settings = {**environment, "EVENTS_NATS_URL": url, "METRICS_PORT": str(metrics_port)}
        log = tmp_path / "auth.log"
        launch = launch_part("kpi_auth", settings, log=log)
        auth = await asyncio.to_thread(launch.__enter__)
        try:
            await work(auth, "anna", times=1)
            reason = "Authorization Violation"
            await asyncio.to_thread(wait_for_records, log, event="events cannot be delivered", reason=reason)
            async with httpx.AsyncClient() as client:
                assert (await client.get(f"{auth.address}/health/ready")).status_code == 200
            scrape = await asyncio.to_thread(
                Scrape.wait_for, metrics_port, lambda it: it.value("kpi_auth_outlet_lag_events") == 2
            )
            assert scrape.value("kpi_auth_outlet_errors_total", outlet="nats") > 0
            assert scrape.value("kpi_auth_outlet_connected", outlet="nats") == 0
        finally:
            await asyncio.to_thread(launch.__exit__, None, None, None)
        shown = json.loads(
            await asyncio.to_thread(run_command, "kpi_auth", "show-outlets", settings=settings, given="{}")
        )
        (row,) = shown["outlets"]
        assert (row["name"], row["state"], row["seq"], row["waiting"]) == ("nats", "failing", 0, 2)
        assert row["last_error"] == reason
        assert "of-another-server" not in log.read_text()
        assert read_log(log, level="error") == []


async def test_the_next_process_goes_on_at_once_when_one_is_stopped(
    environment: dict[str, str], database: Database, broker: Broker, tmp_path: Path
) -> None:
    settings = {**environment, "EVENTS_NATS_URL": broker.url}
    for number in range(2):
        launch = launch_part("kpi_auth", settings, log=tmp_path / f"auth{number}.log")
        auth = await asyncio.to_thread(launch.__enter__)
        await work(auth, f"user{number}", times=1)
        await until_delivered(database)
        await asyncio.to_thread(launch.__exit__, None, None, None)
        assert (await outlet(database)).holder is None


async def test_without_an_address_the_library_is_not_loaded() -> None:
    program = "import sys, kpi_auth.app; print('nats' in sys.modules, 'kpi_auth.outlets.worker' in sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0].split() == [b"False", b"True"]
