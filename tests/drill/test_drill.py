"""The short half of the drill: faults without a comparison of times, and a checker that finds each kind of loss."""

import asyncio
import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from kpi_drill.checker import count_lost_mails
from kpi_drill.rows.table import ROWS
from kpi_drill.stage import Stage, open_stage

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif("KPI_GATEWAY_URL" in os.environ, reason="the drill starts processes of its own"),
]
# The rows with a platform of their own kind come first: each of them ends the one that the others share.
SHORT = (
    "silence",
    "lost-database",
    "nats",
    "feed-cut",
    "rotation-public",
    "frozen-auth",
    "read-only",
    "widened-column",
    "kills",
    "database-kills",
    "restarts",
    "revocation",
    "revocation-kill",
    "refresh-race",
    "events",
    "retries",
    # It leaves the platform with another key.
    "retired-key",
)


class Drill(NamedTuple):
    """The rows run in one event loop, which the processes of their platform belong to."""

    stage: Stage
    runner: asyncio.Runner


@pytest.fixture(scope="module")
def drill() -> Iterator[Drill]:
    with open_stage(seed=1, short=True) as stage, asyncio.Runner() as runner:
        yield Drill(stage, runner)
        runner.run(stage.close())


@pytest.mark.parametrize("name", SHORT)
def test_platform_survives_the_fault_and_loses_nothing(drill: Drill, name: str) -> None:
    row = next(row for row in ROWS if row.name == name)
    verdict = None
    try:
        verdict = drill.runner.run(row.run(drill.stage))
    finally:
        if verdict is None or not verdict.kept:
            # What is broken must not fail the other rows.
            drill.runner.run(drill.stage.close())
    assert verdict.kept, verdict.figure


LOSSES = {
    "posts": ("drill_content", "DELETE FROM posts WHERE id = (SELECT max(id) FROM posts WHERE votes = 0)"),
    "votes": ("drill_content", "WITH gone AS (DELETE FROM votes RETURNING post_id) UPDATE posts SET votes = 0"),
    "drift": ("drill_content", "UPDATE posts SET votes = votes + 1 WHERE id = (SELECT max(id) FROM posts)"),
    "people": ("drill_auth", "UPDATE users SET username = username || 'x' WHERE id = (SELECT max(id) FROM users)"),
    "sessions_ended": (
        "drill_auth",
        "UPDATE sessions SET ended_at = now(), end_reason = 'reuse' WHERE id = (SELECT max(id) FROM sessions)",
    ),
    "tokens_after_logout": (
        "drill_auth",
        "UPDATE sessions SET ended_at = NULL, end_reason = NULL WHERE end_reason = 'logout'",
    ),
}


def test_the_checker_finds_each_kind_of_loss(drill: Drill) -> None:
    stage = drill.stage

    async def lose_everything() -> None:
        async with stage.platform() as platform:
            async with stage.load(platform) as load:
                await load.wait_for(lambda: bool(load.ledger.logged_out) and {1} in load.ledger.votes.values())
            assert (await stage.check(load, platform)).total == 0
            for kind, (database, statement) in LOSSES.items():
                stage.server.query(database, statement)
                assert getattr(await stage.check(load, platform), kind) > 0, kind
            lost = next(path for path in platform.mails.glob("*.eml") if load.people[0].name in path.read_text())
            lost.unlink()
            assert await count_lost_mails(load.ledger, platform.mails, patience=0) == 1

    try:
        drill.runner.run(lose_everything())
    finally:
        drill.runner.run(stage.close())
