"""What this service deletes once it is no longer needed."""

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial

from fastapi import FastAPI
from kpi_shared.background import Schedule
from kpi_shared.database import Database
from kpi_shared.housekeeping import MOST, Forget, keeping_tidy, run_tasks
from kpi_shared.idempotency import repository as idempotency_keys

from kpi_auth.api_keys import repository as api_keys
from kpi_auth.attempts import repository as attempts
from kpi_auth.audit import retention as audit
from kpi_auth.audit.chain import ChainKeys
from kpi_auth.codes import repository as codes
from kpi_auth.events import retention as events
from kpi_auth.mails import repository as mails
from kpi_auth.outlets import retention as outlets
from kpi_auth.sessions import repository as sessions
from kpi_auth.settings import AuthSettings
from kpi_auth.settings.lifetimes import Lifetimes
from kpi_auth.token_keys import repository as token_keys
from kpi_auth.webhooks import delivery_repository as webhook_deliveries
from kpi_auth.webhooks import retention as webhooks

KEPT = timedelta(days=30)
_HOUR = 3600.0
# A run that fails is repeated after an hour: nothing depends on it.
_SCHEDULE = Schedule(interval=_HOUR, first_delay=60.0, first_backoff=_HOUR, longest_backoff=_HOUR)


def _build_tasks(settings: AuthSettings) -> dict[str, Forget]:
    days = settings.audit_keep_days
    events_kept = timedelta(days=settings.events_keep_days)
    # What events wait for, however old they are.
    readers = (partial(outlets.find_needed, kept=events_kept), webhooks.find_least_needed)
    by_age = partial(audit.forget_old, keys=ChainKeys(settings), kept=timedelta(days=days)) if days else None
    return {
        **({"audit": by_age} if by_age else {}),
        "mails": partial(mails.forget_old, kept=KEPT),
        "contents": mails.forget_old_contents,
        "codes": codes.forget_old,
        "attempts": attempts.forget_old,
        "token_keys": token_keys.forget_old,
        "api_keys": partial(api_keys.forget_old, kept=KEPT),
        "webhook_deliveries": partial(webhook_deliveries.forget_old, kept=KEPT),
        "events": partial(events.forget_old, kept=events_kept, readers=readers),
        "idempotency_keys": idempotency_keys.forget_old,
        "sessions": partial(sessions.forget_old, lifetimes=Lifetimes.of(settings), kept=KEPT),
    }


async def tidy(database: Database, settings: AuthSettings, *, most: int = MOST) -> dict[str, int]:
    """Run all tasks once and return the number of rows that each has deleted or cleared."""
    return await run_tasks(database, _build_tasks(settings), most=most)


async def housekeeping(app: FastAPI) -> AsyncIterator[None]:
    async with keeping_tidy(partial(tidy, app.state.database, app.state.settings), _SCHEDULE):
        yield
