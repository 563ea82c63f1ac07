"""The SQL of what is still to be sent to webhooks.

Of each account's pending deliveries at a webhook, the first one alone has a ``due_at``. Who adds or ends deliveries has
locked the webhook before, so that two transactions cannot both miss which one is the first.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

from kpi_shared.database import MAX_ID, AnyRow
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_auth.events.models import PlacedEvent
from kpi_auth.webhooks.filters import DeliveryFilter
from kpi_auth.webhooks.models import LeasedDelivery

_add = text("""
    WITH given AS (
        SELECT * FROM unnest(CAST(:seqs AS bigint[]), CAST(:accounts AS bigint[]), CAST(:types AS text[]))
            AS given (seq, account_id, event_type)
    )
    INSERT INTO webhook_deliveries (webhook_id, seq, account_id, event_type, give_up_at, due_at)
    SELECT CAST(:webhook_id AS bigint), seq, account_id, event_type, now() + :patience,
        CASE WHEN seq = min(seq) OVER (PARTITION BY account_id) AND NOT EXISTS (
            SELECT 1 FROM webhook_deliveries AS earlier
            WHERE earlier.webhook_id = :webhook_id AND earlier.account_id = given.account_id AND state = 'pending'
        ) THEN now() END
    FROM given
""")
# Only the first deliveries of accounts have a due_at, so the backlog of a webhook costs nothing here.
_find_waiting = text("""
    SELECT webhooks.id, (
        SELECT min(due_at) FROM webhook_deliveries WHERE webhook_id = webhooks.id AND due_at IS NOT NULL
    ) AS due_at FROM webhooks WHERE is_active AND EXISTS (
        SELECT 1 FROM webhook_deliveries WHERE webhook_id = webhooks.id AND due_at <= now()
    ) ORDER BY 2, 1
""")
_lease = text("""
    WITH due AS (
        SELECT found.* FROM unnest(CAST(:ids AS bigint[]), CAST(:places AS int[])) AS given (id, places)
        CROSS JOIN LATERAL (
            SELECT webhook_id, seq FROM webhook_deliveries
            WHERE webhook_id = given.id AND due_at <= now()
            ORDER BY due_at, seq LIMIT given.places FOR UPDATE SKIP LOCKED
        ) AS found
    )
    UPDATE webhook_deliveries AS leased SET attempts = attempts + 1, due_at = now() + :seconds, lease = :lease
    FROM due JOIN webhooks ON webhooks.id = due.webhook_id
    WHERE leased.webhook_id = due.webhook_id AND leased.seq = due.seq AND is_active
    RETURNING leased.webhook_id, leased.seq, account_id, attempts, leased.lease, give_up_at <= now() AS is_last, url,
        secret, CASE WHEN previous_until > now() THEN previous_secret END AS previous_secret
""")
_HELD = "webhook_id = :webhook_id AND seq = :seq AND lease = :lease AND attempts = :attempts AND state = 'pending'"
_renew = text("""
    UPDATE webhook_deliveries AS leased SET due_at = now() + :seconds
    FROM unnest(
        CAST(:webhook_ids AS bigint[]), CAST(:seqs AS bigint[]), CAST(:leases AS bigint[]), CAST(:attempts AS int[])
    ) AS held (webhook_id, seq, lease, attempts)
    WHERE leased.webhook_id = held.webhook_id AND leased.seq = held.seq AND leased.lease = held.lease
        AND leased.attempts = held.attempts AND state = 'pending'
    RETURNING leased.webhook_id, leased.seq
""")
_remove = text(f"DELETE FROM webhook_deliveries WHERE {_HELD} RETURNING seq")  # noqa: S608 our own text
_bury = text(f"""
    UPDATE webhook_deliveries SET state = 'dead', due_at = NULL, last_error = :error, settled_at = now()
    WHERE {_HELD} RETURNING seq
""")  # noqa: S608 as above
_postpone = text(f"""
    UPDATE webhook_deliveries SET due_at = now() + :delay, last_error = :error, lease = NULL
    WHERE {_HELD} RETURNING seq
""")  # noqa: S608 as above
_release_next = text("""
    UPDATE webhook_deliveries SET due_at = now()
    WHERE webhook_id = :webhook_id AND due_at IS NULL AND state = 'pending' AND seq = (
        SELECT min(seq) FROM webhook_deliveries
        WHERE webhook_id = :webhook_id AND account_id = :account_id AND state = 'pending'
    )
""")
_forget_after = text("DELETE FROM webhook_deliveries WHERE webhook_id = :webhook_id AND seq > :after")
_forget_until = text("""
    DELETE FROM webhook_deliveries WHERE webhook_id = :webhook_id AND seq <= :until AND state = 'pending'
""")
_hurry = text("""
    UPDATE webhook_deliveries AS hurried SET attempts = 0, lease = NULL, give_up_at = now() + :patience,
        due_at = CASE WHEN hurried.seq = pending.first THEN now() END
    FROM (
        SELECT seq, min(seq) OVER (PARTITION BY account_id) AS first
        FROM webhook_deliveries WHERE webhook_id = :webhook_id AND state = 'pending'
    ) AS pending
    WHERE webhook_id = :webhook_id AND hurried.seq = pending.seq
""")
_PAGE = """
    SELECT seq, 'evt_' || seq AS message_id, event_type, nullif(account_id, 0) AS account_id, state, attempts,
        last_error, created_at, due_at, give_up_at, settled_at
    FROM webhook_deliveries WHERE webhook_id = :webhook_id AND seq < :before
"""
_page = text(f"{_PAGE} ORDER BY seq DESC LIMIT :limit")
_page_of_state = text(f"{_PAGE} AND state = :state ORDER BY seq DESC LIMIT :limit")
_find_least_pending = text("""
    SELECT min(seq) FROM webhook_deliveries JOIN webhooks ON id = webhook_id WHERE is_active AND state = 'pending'
""")
_get_backlog = text("""
    SELECT count(*) AS waiting,
        CAST(coalesce(extract(epoch FROM now() - min(webhook_deliveries.created_at)), 0) AS float8) AS oldest
    FROM webhook_deliveries JOIN webhooks ON id = webhook_id WHERE is_active AND state = 'pending'
""")
# Those of a webhook that is not active wait no longer than its events are kept.
_forget_old = text("""
    DELETE FROM webhook_deliveries WHERE (webhook_id, seq) IN (
        SELECT webhook_id, seq FROM webhook_deliveries JOIN webhooks ON id = webhook_id
        WHERE settled_at < now() - :kept
            OR (NOT is_active AND state = 'pending' AND webhook_deliveries.created_at < now() - :kept)
        LIMIT :most FOR UPDATE OF webhook_deliveries SKIP LOCKED
    )
""")


class Backlog(NamedTuple):
    """How many deliveries of active webhooks wait, and the age in seconds of the oldest one."""

    waiting: int
    oldest: float


async def add(
    connection: AsyncConnection, *, webhook_id: int, events: Sequence[PlacedEvent], patience: timedelta
) -> None:
    """Queue events for a webhook that is locked."""
    values = {
        "webhook_id": webhook_id,
        "seqs": [event.seq for event in events],
        "accounts": [event.account_id or 0 for event in events],
        "types": [str(event.type) for event in events],
        "patience": patience,
    }
    await connection.execute(_add, values)


async def find_waiting(connection: AsyncConnection) -> list[int]:
    """The active webhooks for which something is due, the longest waiting first."""
    return [row.id for row in await connection.execute(_find_waiting)]


async def lease(connection: AsyncConnection, *, places: Mapping[int, int], seconds: float) -> list[LeasedDelivery]:
    """Lease at most so many due deliveries of each of these webhooks, and count an attempt for each."""
    values = {
        "ids": list(places),
        "places": list(places.values()),
        "seconds": timedelta(seconds=seconds),
        "lease": secrets.randbits(63),
    }
    return [LeasedDelivery(*row) for row in await connection.execute(_lease, values)]


async def renew(
    connection: AsyncConnection, deliveries: Sequence[LeasedDelivery], *, seconds: float
) -> set[tuple[int, int]]:
    """Let the leases end in so many seconds from now; returns webhook and seq of those that are still leased."""
    values = {
        "seconds": timedelta(seconds=seconds),
        "webhook_ids": [delivery.webhook_id for delivery in deliveries],
        "seqs": [delivery.seq for delivery in deliveries],
        "leases": [delivery.lease for delivery in deliveries],
        "attempts": [delivery.attempts for delivery in deliveries],
    }
    return {(row.webhook_id, row.seq) for row in await connection.execute(_renew, values)}


async def remove(connection: AsyncConnection, delivery: LeasedDelivery) -> bool:
    """End a delivery whose event has arrived, of a webhook that is locked; False if it is leased by another worker."""
    if not await _change_held(connection, delivery, _remove):
        return False
    await _let_next_begin(connection, delivery)
    return True


async def bury(connection: AsyncConnection, delivery: LeasedDelivery, *, error: str) -> bool:
    """Give a delivery up; otherwise as ``remove``."""
    if not await _change_held(connection, delivery, _bury, error=error):
        return False
    await _let_next_begin(connection, delivery)
    return True


async def postpone(connection: AsyncConnection, delivery: LeasedDelivery, *, error: str, delay: float) -> bool:
    """Try again in ``delay`` seconds; the later events of the account wait. The webhook need not be locked."""
    return await _change_held(connection, delivery, _postpone, error=error, delay=timedelta(seconds=delay))


async def _change_held(
    connection: AsyncConnection, delivery: LeasedDelivery, statement: TextClause, **values: object
) -> bool:
    key = {
        "webhook_id": delivery.webhook_id,
        "seq": delivery.seq,
        "lease": delivery.lease,
        "attempts": delivery.attempts,
    }
    return (await connection.execute(statement, {**key, **values})).one_or_none() is not None


async def _let_next_begin(connection: AsyncConnection, delivery: LeasedDelivery) -> None:
    values = {"webhook_id": delivery.webhook_id, "account_id": delivery.account_id}
    await connection.execute(_release_next, values)


async def forget_after(connection: AsyncConnection, *, webhook_id: int, after: int) -> None:
    """Delete what a replay queues again."""
    await connection.execute(_forget_after, {"webhook_id": webhook_id, "after": after})


async def forget_until(connection: AsyncConnection, *, webhook_id: int, until: int) -> None:
    """Delete pending deliveries whose events are no longer kept. ``hurry`` must follow."""
    await connection.execute(_forget_until, {"webhook_id": webhook_id, "until": until})


async def hurry(connection: AsyncConnection, *, webhook_id: int, patience: timedelta) -> None:
    """Attempt at once what waits for its next attempt, with the whole patience before it.

    The webhook is locked; what another worker holds is repeated.
    """
    await connection.execute(_hurry, {"webhook_id": webhook_id, "patience": patience})


async def get_page(
    connection: AsyncConnection, *, delivery_filter: DeliveryFilter, before: int | None, limit: int
) -> Sequence[AnyRow]:
    """The newest deliveries with a seq below ``before``."""
    state = delivery_filter.state
    values = {"webhook_id": delivery_filter.webhook_id, "before": before or MAX_ID, "limit": limit}
    if state is None:
        return (await connection.execute(_page, values)).all()
    return (await connection.execute(_page_of_state, values | {"state": state.value})).all()


async def find_least_pending(connection: AsyncConnection) -> int | None:
    """The oldest event that an active webhook still has to get; None if there is none."""
    found: int | None = await connection.scalar(_find_least_pending)
    return found


async def get_backlog(connection: AsyncConnection) -> Backlog:
    return Backlog(*(await connection.execute(_get_backlog)).one())


async def forget_old(connection: AsyncConnection, *, kept: timedelta, most: int) -> int:
    """Delete deliveries that were given up longer ago than ``kept`` and return how many there were."""
    return (await connection.execute(_forget_old, {"kept": kept, "most": most})).rowcount
