"""Deletion by age: the chain stays verifiable, and nothing that was tampered with is deleted."""

import asyncio
from datetime import timedelta

import pytest
from audit_support import Trail
from kpi_auth.housekeeping import tidy


async def run_housekeeping(trail: Trail, *, days: float | None = 30, most: int = 4) -> int:
    settings = trail.settings.model_copy(update={"audit_keep_days": days})
    return (await tidy(trail.database, settings, most=most)).get("audit", 0)


async def test_old_records_are_deleted_and_the_chain_stays_verifiable(trail: Trail) -> None:
    await trail.add(10, age=timedelta(days=31))
    await trail.add(5)
    await trail.chain()
    assert await run_housekeeping(trail, days=None) == 0
    assert await run_housekeeping(trail) == 10
    report = await trail.verify()
    assert (report.problem, report.start.seq, report.records, report.head.seq) == (None, 10, 5, 15)
    assert await run_housekeeping(trail) == 0
    await trail.add(5)
    await trail.chain()
    assert (await trail.verify()).head.seq == 20


async def test_the_chain_goes_on_when_all_records_were_deleted(trail: Trail) -> None:
    chainer = trail.chainer()
    await trail.add(10, age=timedelta(days=31))
    await trail.chain(chainer)
    assert await run_housekeeping(trail) == 10
    await trail.add(2)
    await trail.chain(chainer)
    report = await trail.verify()
    assert (report.problem, report.start.seq, report.head.seq) == (None, 10, 12)


async def test_records_without_a_place_are_kept(trail: Trail) -> None:
    await trail.add(3, age=timedelta(days=31))
    assert await run_housekeeping(trail) == 0


async def test_no_age_deletes_what_the_owner_has_changed(trail: Trail) -> None:
    """Else records that are made older would be deleted with the signature of the service."""
    await trail.add(10)
    await trail.chain()
    async with trail.owner() as owner:
        await owner.run("UPDATE audit_events SET at = at - interval '60 days' WHERE seq <= 5")
    assert await run_housekeeping(trail) == 0
    assert await trail.problem() == ("changed", 1, 1)


@pytest.mark.parametrize("days", [30, 10**6])
async def test_a_year_before_christ_makes_no_record_old(trail: Trail, days: float) -> None:
    """The year alone would read the same, so that the hash would cover it."""
    await trail.add(5)
    await trail.chain()
    async with trail.owner() as owner:
        await owner.run(
            "UPDATE audit_events SET"
            " at = CAST(to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') || ' UTC BC' AS timestamptz)"
        )
    assert await run_housekeeping(trail, days=days) == 0
    assert await trail.problem() == ("changed", 1, 1)


async def test_no_time_before_the_service_is_an_age(trail: Trail) -> None:
    """The service has chained these records of the owner: their hashes are right, and their times are none."""
    async with trail.owner() as owner:
        await owner.run(
            "INSERT INTO audit_events (at, event)"
            " VALUES ('-infinity', 'e'), ('2026-01-01 BC', 'e'), ('1969-12-31', 'e')"
        )
    await trail.chain()
    assert await run_housekeeping(trail) == 0
    assert await trail.problem() == ("put-in", 1, 1)


async def test_a_lost_place_that_was_signed_is_not_deleted_by_age(trail: Trail) -> None:
    """The chain is whole, but another one than the checkpoint shows, which would be deleted with it."""
    await trail.add(10, age=timedelta(days=31))
    await trail.chain()
    async with trail.owner() as owner:
        await owner.run("DELETE FROM audit_events WHERE seq > 8")
    await trail.add(5, age=timedelta(days=31))
    await trail.chain()
    assert await run_housekeeping(trail) == 9
    assert await trail.problem() == ("removed", 10, None)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM audit_events WHERE seq <= 12", ("removed", 11, 13)),
        ("DELETE FROM audit_checkpoints WHERE kind = 'start'", ("removed", 1, 11)),
        ("UPDATE audit_checkpoints SET seq = 12 WHERE kind = 'start'", ("checkpoint", 12, None)),
    ],
)
async def test_what_the_owner_deletes_is_not_taken_for_age(
    trail: Trail, statement: str, problem: tuple[str, int | None, int | None]
) -> None:
    await trail.add(10, age=timedelta(days=31))
    await trail.add(5)
    await trail.chain()
    await run_housekeeping(trail)
    async with trail.owner() as owner:
        await owner.run(statement)
    assert await trail.problem() == problem


async def test_several_replicas_may_run_at_once(trail: Trail) -> None:
    await trail.add(40, age=timedelta(days=31))
    await trail.add(5)
    await trail.chain()
    deleted = await asyncio.gather(*(run_housekeeping(trail, most=3) for _ in range(4)))
    deleted.append(await run_housekeeping(trail, most=3))
    assert sum(deleted) == 40
    assert (await trail.verify()).problem is None
