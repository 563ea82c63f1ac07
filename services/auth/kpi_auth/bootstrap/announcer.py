"""The loop that keeps a valid code in the log as long as there is no admin. Every replica runs it."""

from collections.abc import AsyncIterator

from fastapi import FastAPI
from kpi_shared.background import Schedule, repeat, running

from kpi_auth.bootstrap import service
from kpi_auth.context import context_of
from kpi_auth.origin import CONSOLE

# At the start the database may still be on its way, or not be migrated yet.
_SCHEDULE = Schedule(interval=300.0, first_backoff=1.0, longest_backoff=30.0)


async def bootstrap_codes(app: FastAPI) -> AsyncIterator[None]:
    async def step() -> bool:
        await service.announce_code(context_of(app.state, CONSOLE))
        return False

    loop = repeat(step, _SCHEDULE, failure="the code for the first admin could not be issued")
    async with running(loop, name="bootstrap codes"):
        yield
