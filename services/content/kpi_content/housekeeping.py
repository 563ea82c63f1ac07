"""What this service deletes once it is no longer needed."""

from collections.abc import AsyncIterator
from functools import partial

from fastapi import FastAPI
from kpi_shared.database import Database
from kpi_shared.housekeeping import STEP, Forget, keeping_tidy, run_tasks
from kpi_shared.idempotency import repository as idempotency_keys


def _build_tasks() -> dict[str, Forget]:
    return {
        "idempotency_keys": idempotency_keys.forget_old,
    }


async def tidy(database: Database, *, step: int = STEP) -> dict[str, int]:
    """Run all tasks once and return the number of rows that each has deleted."""
    return await run_tasks(database, _build_tasks(), step=step)


async def housekeeping(app: FastAPI) -> AsyncIterator[None]:
    async with keeping_tidy(partial(tidy, app.state.database)):
        yield
