"""Delete what is no longer needed, in small steps so that no request has to wait; every replica does this."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import structlog

from kpi_shared.background import Schedule, repeat, running
from kpi_shared.database import Database

log = structlog.get_logger(__name__)

STEP = 1000
_MOST_STEPS = 100

# Takes a connection and ``most``, deletes at most that many rows and returns how many there were.
Forget = Callable[..., Awaitable[int]]


async def run_tasks(database: Database, tasks: Mapping[str, Forget], *, step: int) -> dict[str, int]:
    """Run all tasks once and return the number of rows that each has deleted or cleared."""
    return {name: await _run_in_steps(database, forget, step) for name, forget in tasks.items()}


async def _run_in_steps(database: Database, forget: Forget, step: int) -> int:
    deleted = 0
    for _ in range(_MOST_STEPS):
        async with database.working() as connection:
            count = await forget(connection, most=step)
        deleted += count
        if count < step:
            break
    return deleted


@asynccontextmanager
async def keeping_tidy(tidy: Callable[[], Awaitable[dict[str, int]]], schedule: Schedule) -> AsyncIterator[None]:
    """Call ``tidy`` again and again while the block runs, at once where there is more to delete."""

    async def step() -> bool:
        deleted = {name: count for name, count in (await tidy()).items() if count}
        if deleted:
            log.info("housekeeping", **deleted)
        return any(count >= STEP * _MOST_STEPS for count in deleted.values())

    async with running(repeat(step, schedule, failure="housekeeping failed"), name="housekeeping"):
        yield
