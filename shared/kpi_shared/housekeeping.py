"""Delete what is no longer needed, in small steps so that no request has to wait; every replica does this."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import structlog

from kpi_shared.background import Schedule, repeat, running
from kpi_shared.database import Database

log = structlog.get_logger(__name__)

MOST = 1000
MOST_STEPS = 100

# Takes a connection and ``most``, deletes at most that many rows and returns how many there were.
Forget = Callable[..., Awaitable[int]]


async def run_tasks(database: Database, tasks: Mapping[str, Forget], *, most: int) -> dict[str, int]:
    """Run all tasks once and return the number of rows that each has deleted or cleared."""
    return {name: await _run_in_steps(database, forget, most) for name, forget in tasks.items()}


async def _run_in_steps(database: Database, forget: Forget, most: int) -> int:
    deleted = 0
    for _ in range(MOST_STEPS):
        async with database.working() as connection:
            count = await forget(connection, most=most)
        deleted += count
        if count < most:
            break
    return deleted


@asynccontextmanager
async def keeping_tidy(tidy: Callable[[], Awaitable[dict[str, int]]], schedule: Schedule) -> AsyncIterator[None]:
    """Call ``tidy`` again and again while the block runs, at once where there is more to delete."""

    async def tidy_once() -> bool:
        deleted = {name: count for name, count in (await tidy()).items() if count}
        if deleted:
            log.info("housekeeping", **deleted)
        return any(count >= MOST * MOST_STEPS for count in deleted.values())

    async with running(repeat(tidy_once, schedule, failure="housekeeping failed"), name="housekeeping"):
        yield
