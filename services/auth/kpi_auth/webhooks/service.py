"""Making, changing and ending webhooks. Each is one transaction, together with its audit record."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from kpi_shared.caller import Subject
from kpi_shared.database import AnyRow
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.audit.models import Event
from kpi_auth.audit.service import record
from kpi_auth.context import Context
from kpi_auth.events import lookup_repository
from kpi_auth.events import repository as events
from kpi_auth.sessions.session_check import check_again
from kpi_auth.settings.secret_keys import SecretKeys
from kpi_auth.webhooks import delivery_repository as deliveries
from kpi_auth.webhooks import repository
from kpi_auth.webhooks.destinations import get_receiver
from kpi_auth.webhooks.errors import WebhookLimitError, WebhookNotFoundError
from kpi_auth.webhooks.fields import WebhookState
from kpi_auth.webhooks.signatures import SecretSealer, make_secret

# How long a delivery is attempted before it is given up.
PATIENCE = timedelta(days=3)


class WithSecret(NamedTuple):
    """A row and its new secret, which can be read in this response only."""

    row: AnyRow
    secret: str


class Replayed(NamedTuple):
    row: AnyRow
    # The events after this one are sent again, up to the last one that there is now.
    after: int
    last: int


async def create(
    context: Context, connection: AsyncConnection, *, caller: Subject, wanted: Mapping[str, Any]
) -> WithSecret:
    """Add a webhook that gets the events from now on; WebhookLimitError if there are as many as are allowed."""
    await repository.lock_adding(connection)
    await check_again(connection, caller)
    if await repository.count(connection) >= context.settings.webhook_limit:
        raise WebhookLimitError
    secret = make_secret()
    values = {"secret": _seal(context, secret), "queued_seq": await _find_last(connection), "created_by": caller.id}
    row = await repository.add(connection, {**wanted, **values})
    details = {"receiver": get_receiver(row.url), "event_types": row.event_types}
    await _record(context, connection, Event.WEBHOOK_CREATED, caller, row, **details)
    return WithSecret(row, secret)


async def get_or_raise(connection: AsyncConnection, *, webhook_id: int) -> AnyRow:
    row = await repository.get(connection, webhook_id=webhook_id)
    if row is None:
        raise WebhookNotFoundError
    return row


async def change(
    context: Context, connection: AsyncConnection, *, webhook_id: int, caller: Subject, wanted: Mapping[str, Any]
) -> AnyRow:
    """Set the wanted columns and return the webhook. Values that are equal to the current ones are no change."""
    before = await _lock_or_raise(connection, webhook_id, caller)
    changes = {name: value for name, value in wanted.items() if getattr(before, name) != value}
    if not changes:
        return before
    if changes.get("is_active"):
        await _start_again(connection, before)
    await repository.change(connection, webhook_id=webhook_id, values={**changes, **_reset(changes)})
    row = await get_or_raise(connection, webhook_id=webhook_id)
    await _record(context, connection, Event.WEBHOOK_CHANGED, caller, row, fields=sorted(changes))
    return row


async def delete(context: Context, connection: AsyncConnection, *, webhook_id: int, caller: Subject) -> None:
    """Delete a webhook and what it has not got yet."""
    row = await _lock_or_raise(connection, webhook_id, caller)
    await repository.delete(connection, webhook_id=webhook_id)
    await _record(context, connection, Event.WEBHOOK_DELETED, caller, row, receiver=get_receiver(row.url))


async def rotate_secret(
    context: Context, connection: AsyncConnection, *, webhook_id: int, caller: Subject, grace: timedelta
) -> WithSecret:
    """Give a webhook a new secret; for ``grace`` both sign."""
    before = await _lock_or_raise(connection, webhook_id, caller)
    secret = make_secret()
    await repository.replace_secret(connection, webhook_id=before.id, secret=_seal(context, secret), grace=grace)
    row = await get_or_raise(connection, webhook_id=webhook_id)
    details = {"grace_seconds": int(grace.total_seconds())}
    await _record(context, connection, Event.WEBHOOK_SECRET_ROTATED, caller, row, **details)
    return WithSecret(row, secret)


async def replay(
    context: Context, connection: AsyncConnection, *, webhook_id: int, caller: Subject, place: datetime | int
) -> Replayed:
    """Send the events since a time, or after a seq, once more; a disabled webhook is active again then.

    What has waited from before that place is attempted at once, too.
    """
    before = await _lock_or_raise(connection, webhook_id, caller)
    ends = await events.get_ends(connection)
    wanted = place if isinstance(place, int) else await lookup_repository.find_seq_before(connection, moment=place)
    if wanted is None:
        wanted = ends.last
    # Never forward: events that have not been queued yet would be left out.
    after = max(min(wanted, before.queued_seq), ends.horizon)
    await deliveries.forget_after(connection, webhook_id=webhook_id, after=after)
    revived = {"is_active": True, **_reset({"is_active": True})} if before.state == WebhookState.DISABLED else {}
    await repository.change(connection, webhook_id=webhook_id, values={"queued_seq": after, **revived})
    await _hurry(connection, webhook_id=webhook_id, horizon=ends.horizon)
    row = await get_or_raise(connection, webhook_id=webhook_id)
    await _record(context, connection, Event.WEBHOOK_REPLAYED, caller, row, after_seq=after)
    return Replayed(row, after, ends.last)


async def _lock_or_raise(connection: AsyncConnection, webhook_id: int, caller: Subject) -> AnyRow:
    """The webhook, locked; the caller is checked again, since the request may have waited for the lock."""
    await repository.lock(connection, webhook_id=webhook_id)
    await check_again(connection, caller)
    return await get_or_raise(connection, webhook_id=webhook_id)


async def _start_again(connection: AsyncConnection, before: AnyRow) -> None:
    """Go on where it stopped, as far as the events are still kept."""
    horizon = (await events.get_ends(connection)).horizon
    await _hurry(connection, webhook_id=before.id, horizon=horizon)
    if before.queued_seq < horizon:
        await repository.set_queued(connection, webhook_id=before.id, seq=horizon)


async def _hurry(connection: AsyncConnection, *, webhook_id: int, horizon: int) -> None:
    """Attempt at once what waits, except for events that are gone: each of them would be one more that is given up."""
    await deliveries.forget_until(connection, webhook_id=webhook_id, until=horizon)
    await deliveries.hurry(connection, webhook_id=webhook_id, patience=PATIENCE)


def _reset(changes: Mapping[str, Any]) -> dict[str, Any]:
    """A webhook that an admin starts or stops is no longer one that the service has disabled."""
    return {"disabled_at": None, "disabled_reason": None, "dead_in_row": 0} if "is_active" in changes else {}


async def _find_last(connection: AsyncConnection) -> int:
    return (await events.get_ends(connection)).last


def _seal(context: Context, secret: str) -> str:
    return SecretSealer(SecretKeys(context.settings)).seal(secret)


async def _record(
    context: Context, connection: AsyncConnection, event: Event, caller: Subject, row: AnyRow, **details: object
) -> None:
    details = {"webhook_id": row.id, **details}
    await record(context, connection, event, actor_id=caller.id, details=details)
