from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from events_support import Case
from kpi_kit.events.drivers.postgresql import TABLES
from kpi_shared.testing.nats_server import Broker, run_broker
from kpi_shared.testing.postgres import create_database


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """For all tests that do not disturb it; each test has a stream of its own."""
    with run_broker(tmp_path_factory.mktemp("nats")) as found:
        yield found


@pytest.fixture(scope="session")
def database(worker: str) -> str:
    url = create_database(f"kit_events_{worker}")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(TABLES)
    return url


@pytest.fixture(params=["fake", "memory", "postgresql", "nats"])
def case(request: pytest.FixtureRequest) -> Case:
    return build_case(request.param, request)


def build_case(name: str, request: pytest.FixtureRequest) -> Case:
    if name == "nats":
        return Case(name, f"{request.getfixturevalue('broker').url}?stream=T{uuid4().hex}")
    if name != "postgresql":
        return Case(name, f"{name}://")
    url: str = request.getfixturevalue("database")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE kpi_events.groups CASCADE")
    return Case(name, url if "?" in url else f"{url}?timeout=10")


@pytest.fixture(params=["postgresql", "nats"])
def durable(request: pytest.FixtureRequest) -> Case:
    return build_case(request.param, request)
