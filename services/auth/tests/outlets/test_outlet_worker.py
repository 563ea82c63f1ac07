"""The worker on a real database and a real NATS server: what is delivered, by whom, and what a failure costs."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from kpi_auth.events import retention as events
from kpi_auth.outlets import repository
from kpi_auth.outlets.channels import Channel
from kpi_auth.outlets.nats_transport import NatsStream, NatsTransport
from kpi_auth.outlets.retention import find_needed
from kpi_auth.outlets.worker import OutletTimes, OutletWorker
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.nats_urls import nats_servers
from kpi_shared.background import running
from kpi_shared.database import Database
from kpi_shared.telemetry.metrics import Metrics
from kpi_shared.testing.nats_server import Broker, run_broker
from kpi_shared.testing.postgres import create_migrated_database
from mail_support import execute
from nats_support import STREAM, Received, client, read_stream
from outlet_support import assert_complete, newest, outlet, put, until, until_delivered
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import CapturingLogger

QUICK = OutletTimes(
    poll=0.02, take=0.02, lease=60, renewal=0.1, first_backoff=0.02, longest_backoff=0.1, measure=0.02, page=50
)


@pytest.fixture(scope="module")
def outlet_settings(worker: str, secret_key: str) -> AuthSettings:
    """A separate database, since these tests commit."""
    return AuthSettings(
        database_url=SecretStr(create_migrated_database("kpi_auth", f"outlets_{worker}")),
        paseto_secret_key=SecretStr(secret_key),
    )


@pytest.fixture
async def database(outlet_settings: AuthSettings) -> AsyncIterator[Database]:
    database = Database(outlet_settings)
    yield database
    async with database.writing() as connection:
        await connection.execute(text("TRUNCATE events, outlets"))
    await database.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with run_broker(tmp_path) as broker:
        yield broker


def worker_of(database: Database, broker: Broker, times: OutletTimes = QUICK) -> OutletWorker:
    transport = NatsTransport(nats_servers(broker.url), NatsStream(STREAM, "kpi.events", keep_days=30))
    return OutletWorker("nats", database, transport, timedelta(days=30), times)


def at_work(worker: OutletWorker) -> AbstractAsyncContextManager[None]:
    return running(worker.run(), name="outlet")


async def received(broker: Broker) -> list[Received]:
    async with client(broker) as stream:
        return await read_stream(stream)


async def test_events_are_delivered_with_what_the_feed_says_of_them(database: Database, broker: Broker) -> None:
    await put(database, count=3)
    async with at_work(worker_of(database, broker)):
        await until_delivered(database)
        await put(database, count=120, first=4)
        await until_delivered(database)
    messages = await received(broker)
    await assert_complete(database, messages)
    body = messages[0].body
    assert set(body) == {"seq", "type", "schema_version", "account_id", "occurred_at", "data"}
    assert (body["type"], body["data"]) == ("session.ended", {"session_id": 1, "reason": "logout"})
    row = await outlet(database)
    assert (row.state, row.last_error, row.holder) == ("working", None, None)


async def test_a_server_that_is_down_at_the_start_gets_everything_once_it_is_up(
    database: Database, broker: Broker
) -> None:
    broker.kill()
    await put(database, count=200)
    async with at_work(worker_of(database, broker)):
        await until(lambda: is_in_state(database, "failing"))
        assert "Connect call failed" in (await outlet(database)).last_error
        broker.start()
        await until_delivered(database)
    await assert_complete(database, await received(broker))
    assert (await outlet(database)).state == "working"


async def is_in_state(database: Database, state: str) -> bool:
    async with database.reading() as connection:
        rows = await repository.get_all(connection)
    return [row.state for row in rows] == [state]


async def test_a_server_that_is_killed_again_and_again_gets_everything_in_order(
    database: Database, broker: Broker
) -> None:
    """Eight writers, on few accounts, while it is killed and started four times."""

    async def write(writer: int) -> None:
        for step in range(25):
            await put(database, count=4, accounts=3, first=writer * 1000 + step * 4 + 1)
            await asyncio.sleep(0.02)

    async def kill() -> None:
        for _ in range(4):
            await asyncio.sleep(0.2)
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)

    async with at_work(worker_of(database, broker)):
        await asyncio.gather(kill(), *(write(writer) for writer in range(8)))
        await until_delivered(database)
    await assert_complete(database, await received(broker))


async def test_of_two_replicas_one_works_and_the_other_takes_over_when_it_stops(
    database: Database, broker: Broker
) -> None:
    first, second = worker_of(database, broker), worker_of(database, broker)
    async with at_work(second):
        async with at_work(first):
            await put(database, count=500)
            await until_delivered(database)
            assert sorted([first._delivered, second._delivered]) == [0, 500]
        await put(database, count=500, first=501)
        await until_delivered(database)
    assert first._delivered + second._delivered == 1000
    await assert_complete(database, await received(broker))


async def test_a_replica_that_dies_is_followed_after_its_lease(database: Database, broker: Broker) -> None:
    async with database.writing() as connection:
        assert await repository.take(connection, name="nats", holder="dead", seconds=1.5) == 0
        assert await repository.take(connection, name="nats", holder="other", seconds=1) is None
    await put(database, count=10)
    async with at_work(worker_of(database, broker)):
        await until_delivered(database)
    await assert_complete(database, await received(broker))


async def test_what_was_acknowledged_and_not_stored_arrives_once(
    database: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = repository.acknowledge
    failures = iter(range(3))

    async def fail_at_first(*arguments: object, **values: object) -> bool:
        if next(failures, None) is not None:
            raise OSError("the database is gone")
        return await stored(*arguments, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(repository, "acknowledge", fail_at_first)
    await put(database, count=120)
    async with at_work(worker_of(database, broker, QUICK._replace(take=0.001))):
        await until_delivered(database)
    await assert_complete(database, await received(broker))


async def test_a_worker_whose_lease_has_passed_to_another_stops(database: Database, broker: Broker) -> None:
    worker = worker_of(database, broker)
    async with at_work(worker):
        await put(database, count=5)
        await until_delivered(database)
        async with database.writing() as connection:
            await connection.execute(text("UPDATE outlets SET holder = 'other', leased_until = now() + interval '1 h'"))
        await until(lambda: _is(lambda: not worker._is_connected))
        await put(database, count=5, first=6)
        await asyncio.sleep(0.3)
    assert (await outlet(database)).holder == "other"
    assert len(await received(broker)) == 5


async def _is(condition: object) -> bool:
    assert callable(condition)
    return bool(condition())


async def test_metrics_say_how_far_behind_the_outlet_is(database: Database, broker: Broker) -> None:
    broker.kill()
    metrics = Metrics("auth")
    worker = worker_of(database, broker)
    worker.register_metrics(metrics)

    def value(name: str) -> float:
        return metrics.registry.get_sample_value(f"kpi_auth_outlet_{name}", {"outlet": "nats"}) or 0.0

    await put(database, count=9)
    async with at_work(worker):
        await until(lambda: _is(lambda: value("lag_events") == 9 and value("errors_total") >= 2))
        assert value("lag_seconds") > 0
        assert value("connected") == 0
        await asyncio.to_thread(broker.start)
        await until(lambda: _is(lambda: value("lag_events") == 0 and value("connected") == 1))
        assert value("delivered_total") == 9


async def test_a_database_that_is_lost_for_a_time_ends_no_worker(
    database: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = worker_of(database, broker)
    async with at_work(worker):
        await put(database, count=5)
        await until_delivered(database)
        with monkeypatch.context() as patch:

            @asynccontextmanager
            async def lost() -> AsyncIterator[Channel]:
                raise OSError(secrets.token_hex(4))
                yield

            patch.setattr(database, "reading", lost)
            await until(lambda: _is(lambda: not worker._is_connected))
        await put(database, count=5, first=6)
        await until_delivered(database)
    await assert_complete(database, await received(broker))


async def test_events_are_kept_for_an_outlet_that_works_and_not_for_one_that_is_dead(database: Database) -> None:
    kept = timedelta(days=30)

    async def forget() -> list[int]:
        async with database.writing() as connection:
            await events.forget_old(connection, kept=kept, most=100, readers=[partial(find_needed, kept=kept)])
            return list((await connection.execute(text("SELECT seq FROM events ORDER BY seq"))).scalars())

    await put(database, count=5)
    first = await newest(database) - 4
    await execute(database, "UPDATE events SET occurred_at = now() - interval '31 days'")
    async with database.writing() as connection:
        await repository.take(connection, name="nats", holder="x", seconds=1)
        await repository.acknowledge(connection, name="nats", holder="x", seq=first + 1, seconds=1)
    assert await forget() == [first + 2, first + 3, first + 4]
    await execute(database, "UPDATE outlets SET acknowledged_at = now() - interval '31 days'")
    assert await forget() == []


async def test_the_log_names_an_outlet_that_does_not_work_and_says_so_when_events_are_lost(
    database: Database, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not what reaches standard output, which an application of an earlier test may have configured.
    logged = CapturingLogger()
    monkeypatch.setattr("kpi_auth.outlets.worker.log", logged)
    broker.kill()
    await put(database, count=3)
    worker = worker_of(database, broker)
    async with at_work(worker):
        await until(lambda: _is(lambda: worker._errors > 3))
        (named,) = logged.calls
        assert (named.method_name, *named.args) == ("warning", "events cannot be delivered")
        assert (named.kwargs["outlet"], named.kwargs["waiting"]) == ("nats", 3)
        await execute(database, "UPDATE events SET occurred_at = now() - interval '31 days'")
        begun = worker._errors
        # The attempt after the next has measured what was updated.
        await until(lambda: _is(lambda: worker._errors > begun + 1))
        worker._report._logged_at = float("-inf")
        await until(lambda: _is(lambda: len(logged.calls) == 2))
        assert logged.calls[1].method_name == "error"
        assert "events are deleted undelivered" in logged.calls[1].args[0]
