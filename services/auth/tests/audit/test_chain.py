"""The chain of audit records: how committed records get their places."""

import asyncio
from datetime import timedelta

import httpx
import pytest
from audit_support import Trail
from auth_support import Accounts
from fastapi import FastAPI
from kpi_shared.database import Database
from kpi_shared.telemetry.metrics import Metrics
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError


async def test_committed_records_get_their_places_in_the_order_of_their_ids(trail: Trail) -> None:
    await trail.add(1200)
    await trail.chain()
    places = await trail.rows("SELECT id, seq, length(hash) AS length FROM audit_events ORDER BY id")
    assert [tuple(row) for row in places] == [(n, n, 37) for n in range(1, 1201)]
    report = await trail.verify()
    assert (report.problem, report.records, report.waiting, report.head.seq) == (None, 1200, 0, 1200)


async def test_a_transaction_that_commits_late_stalls_no_other_and_is_chained_last(trail: Trail) -> None:
    late = trail.database.writing()
    connection = await late.__aenter__()
    await connection.execute(text("INSERT INTO audit_events (event) VALUES ('late')"))
    await trail.add(3)
    await trail.chain()
    assert [row.id for row in await trail.rows("SELECT id FROM audit_events ORDER BY seq")] == [2, 3, 4]
    await late.__aexit__(None, None, None)
    await trail.chain()
    assert [row.id for row in await trail.rows("SELECT id FROM audit_events ORDER BY seq")] == [2, 3, 4, 1]
    assert await trail.problem() is None


async def test_several_replicas_make_one_chain_while_records_are_added(trail: Trail) -> None:
    """Each replica has its own connections; writers commit in another order than they begin."""
    replicas = [Database(trail.settings) for _ in range(3)]
    tasks = [asyncio.create_task(Trail(trail.settings, each).chainer(poll=0.01).run()) for each in replicas]

    async def write(number: int) -> None:
        for turn in range(40):
            async with trail.database.writing() as connection:
                await connection.execute(text("INSERT INTO audit_events (event) VALUES ('e')"))
                await asyncio.sleep(0.002 * ((number + turn) % 4))

    await asyncio.gather(*(write(number) for number in range(5)))
    async with asyncio.timeout(30):
        while (report := await trail.verify()).records < 200:
            assert report.problem is None, report
            await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for each in replicas:
        await each.close()
    assert (report.problem, report.records, report.waiting) == (None, 200, 0)


async def test_a_place_is_given_once_and_a_record_stays(trail: Trail) -> None:
    await trail.add(2)
    await trail.chain()
    for statement in (
        "UPDATE audit_events SET seq = 9, hash = '\\x00' WHERE seq = 1",
        "UPDATE audit_events SET seq = NULL, hash = NULL",
        "UPDATE audit_events SET key_id = 1",
        "DELETE FROM audit_events WHERE seq = 1",
    ):
        with pytest.raises(DBAPIError, match="only ever added"):
            async with trail.database.writing() as connection:
                await connection.execute(text(statement))
    assert await trail.problem() is None


async def test_checkpoints_are_signed_as_the_chain_grows_and_not_more_often(trail: Trail) -> None:
    chainer = trail.chainer(checkpoint=3600)
    for _ in range(3):
        await trail.add(1)
        await trail.chain(chainer)
    assert [row.seq for row in await trail.rows("SELECT seq FROM audit_checkpoints")] == [1]
    await trail.chain(trail.chainer(checkpoint=0))
    await trail.chain(trail.chainer(checkpoint=0))
    assert [row.seq for row in await trail.rows("SELECT seq FROM audit_checkpoints ORDER BY seq")] == [1, 3]


async def test_metrics_show_the_lag_the_place_and_a_cut(trail: Trail) -> None:
    metrics = Metrics("auth")
    chainer = trail.chainer()
    chainer.register_metrics(metrics)

    def value(name: str) -> float:
        found = metrics.registry.get_sample_value(f"kpi_auth_audit_{name}")
        assert found is not None
        return found

    await trail.add(3, age=timedelta(minutes=10))
    await chainer.step()
    assert 599 < value("chain_lag_seconds") < 700
    assert value("chained_total") == 3
    await chainer.step()
    assert (value("chain_lag_seconds"), value("chain_place"), value("chain_breaks_total")) == (0, 3, 0)
    async with trail.owner() as owner:
        await owner.run("DELETE FROM audit_events WHERE seq = 3")
    await chainer.step()
    await chainer.step()
    assert (value("chain_place"), value("chain_breaks_total")) == (2, 1)


async def test_a_running_service_chains_what_it_records(running_app: FastAPI, shared_client: httpx.AsyncClient) -> None:
    accounts = Accounts(running_app, shared_client)
    await accounts.add("anna")
    waiting = "SELECT count(*) FROM audit_events WHERE seq IS NULL"
    async with asyncio.timeout(30):
        while number := await accounts.scalar(waiting):
            assert number == 2
            await asyncio.sleep(0.05)
    assert await accounts.scalar("SELECT count(*) FROM audit_events") == 2
