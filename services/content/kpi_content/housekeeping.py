"""Delete what is no longer needed, in small steps so that no request has to wait; every replica does this."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial

import structlog
from fastapi import FastAPI
from kpi_shared.background import Schedule, repeat, running
from kpi_shared.database import Database

from kpi_content.conversations import event_repository as events
from kpi_content.conversations import repository as conversations
from kpi_content.messages import repository as messages
from kpi_content.settings import ContentSettings

log = structlog.get_logger(__name__)

# Deleted conversations are hidden at once, and their texts are gone soon after it.
_SCHEDULE = Schedule(interval=60.0, first_delay=60.0, first_backoff=60.0, longest_backoff=600.0)
_STEP = 1000
_MOST_STEPS = 100

# Takes a connection and ``most``, deletes at most that many rows and returns how many there were.
_Forget = Callable[..., Awaitable[int]]


def _build_tasks(settings: ContentSettings) -> dict[str, _Forget]:
    kept = timedelta(hours=settings.conversation_events_keep_hours)
    return {
        "old_events": partial(events.forget_old, kept=kept),
        "messages": messages.forget_deleted,
        "events": events.forget_deleted,
        # Those that the two above have emptied.
        "conversations": partial(conversations.forget_deleted, has_messages=messages.has_messages),
    }


async def tidy(database: Database, settings: ContentSettings, *, step: int = _STEP) -> dict[str, int]:
    """Run all tasks once and return the number of rows that each has deleted."""
    return {name: await _run_in_steps(database, forget, step) for name, forget in _build_tasks(settings).items()}


async def _run_in_steps(database: Database, forget: _Forget, step: int) -> int:
    deleted = 0
    for _ in range(_MOST_STEPS):
        async with database.working() as connection:
            count = await forget(connection, most=step)
        deleted += count
        if count < step:
            break
    return deleted


async def housekeeping(app: FastAPI) -> AsyncIterator[None]:
    async def step() -> bool:
        deleted = {name: count for name, count in (await tidy(app.state.database, app.state.settings)).items() if count}
        if deleted:
            log.info("housekeeping", **deleted)
        return any(count >= _STEP * _MOST_STEPS for count in deleted.values())

    async with running(repeat(step, _SCHEDULE, failure="housekeeping failed"), name="housekeeping"):
        yield
