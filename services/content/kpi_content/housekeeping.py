"""What this service deletes once it is no longer needed."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

from fastapi import FastAPI
from kpi_shared.background import Schedule
from kpi_shared.database import Database
from kpi_shared.housekeeping import MOST, Forget, keeping_tidy, run_tasks
from kpi_shared.idempotency import repository as idempotency_keys

from kpi_content.conversations import event_repository as events
from kpi_content.conversations import repository as conversations
from kpi_content.messages import repository as messages
from kpi_content.settings import ContentSettings

# Deleted conversations are hidden at once, and their texts are gone soon after it.
_SCHEDULE = Schedule(interval=60.0, first_delay=60.0, first_backoff=60.0, longest_backoff=600.0)


def _build_tasks(settings: ContentSettings) -> dict[str, Forget]:
    kept = timedelta(hours=settings.conversation_events_keep_hours)
    return {
        "idempotency_keys": idempotency_keys.forget_old,
        "old_events": partial(events.forget_old, kept=kept),
        "messages": messages.forget_deleted,
        "events": events.forget_deleted,
        # Those that the two above have emptied.
        "conversations": partial(conversations.forget_deleted, has_messages=messages.has_messages),
    }


async def tidy(database: Database, settings: ContentSettings, *, most: int = MOST) -> dict[str, int]:
    """Run all tasks once and return the number of rows that each has deleted."""
    return await run_tasks(database, _build_tasks(settings), most=most)


async def housekeeping(app: FastAPI) -> AsyncIterator[None]:
    async with keeping_tidy(partial(tidy, app.state.database, app.state.settings), _SCHEDULE):
        yield
