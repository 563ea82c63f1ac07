"""The SQL of webhooks."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from kpi_shared.database import MAX_ID, AnyRow
from sqlalchemy import bindparam, func, insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.webhooks.models import Webhook

# How many pending deliveries a webhook has, about. So it can be deleted and replayed within the time of a request.
MAX_PENDING = 20_000
# An arbitrary constant that identifies the lock under which webhooks are counted and added.
_ADD_LOCK = 7_352_064
_SHOWN = """
    id, url, description, event_types, is_active, queued_seq, disabled_at, disabled_reason, delivered_at, created_by,
    created_at, updated_at, version, secret,
    CASE WHEN previous_until > now() THEN previous_until END AS previous_secret_until,
    CASE WHEN is_active THEN 'active' WHEN disabled_at IS NULL THEN 'paused' ELSE 'disabled' END AS state,
    (SELECT count(*) FROM webhook_deliveries WHERE webhook_id = webhooks.id AND state = 'pending') AS pending,
    (SELECT count(*) FROM webhook_deliveries WHERE webhook_id = webhooks.id AND state = 'dead') AS dead
"""
_lock_adding = text("SELECT pg_advisory_xact_lock(:lock)")
_count = text("SELECT count(*) FROM webhooks")
_add = insert(Webhook).returning(col(Webhook.id))
_get = text(f"SELECT {_SHOWN} FROM webhooks WHERE id = :id")  # noqa: S608 our own text
_lock = text("SELECT id FROM webhooks WHERE id = :id FOR NO KEY UPDATE")
_page = text(f"SELECT {_SHOWN} FROM webhooks WHERE id < :before ORDER BY id DESC LIMIT :limit")  # noqa: S608 as above
_by_id = col(Webhook.id) == bindparam("of")
_delete = text("DELETE FROM webhooks WHERE id = :id")
_replace_secret = text("""
    UPDATE webhooks SET
        previous_secret = CASE WHEN :grace > interval '0' THEN secret END,
        previous_until = CASE WHEN :grace > interval '0' THEN now() + :grace END,
        secret = :secret, version = version + 1, updated_at = clock_timestamp()
    WHERE id = :id
""")
# The events themselves are the backlog: of a receiver that is down for days, the queue has only so many.
_BEHIND = """
    is_active AND queued_seq < :last AND :most > (
        SELECT count(*) FROM (
            SELECT 1 FROM webhook_deliveries WHERE webhook_id = webhooks.id AND state = 'pending' LIMIT :most
        ) AS pending
    )
"""
_is_behind = text(f"SELECT EXISTS (SELECT 1 FROM webhooks WHERE {_BEHIND})")  # noqa: S608 our own text
_find_behind = text(f"""
    SELECT id, event_types, queued_seq FROM webhooks WHERE {_BEHIND}
    ORDER BY queued_seq, id LIMIT 1 FOR NO KEY UPDATE
""")  # noqa: S608 as above
_set_queued = text("UPDATE webhooks SET queued_seq = :seq WHERE id = :id")
# Not for each success: a row that changes with every event would delay those that are sent beside it.
_note_success = text("""
    UPDATE webhooks SET dead_in_row = 0, delivered_at = now()
    WHERE id = :id AND (dead_in_row > 0 OR delivered_at IS NULL OR delivered_at < now() - interval '10 seconds')
""")
_note_dead = text("UPDATE webhooks SET dead_in_row = dead_in_row + 1 WHERE id = :id RETURNING dead_in_row")
_disable = text("""
    UPDATE webhooks SET is_active = false, disabled_at = now(), disabled_reason = :reason, version = version + 1
    WHERE id = :id AND is_active RETURNING id
""")
_find_least_queued = text("SELECT min(queued_seq) FROM webhooks WHERE is_active")


async def lock_adding(connection: AsyncConnection) -> None:
    """Until the transaction ends, no other webhook is added."""
    await connection.execute(_lock_adding, {"lock": _ADD_LOCK})


async def count(connection: AsyncConnection) -> int:
    return int((await connection.execute(_count)).scalar_one())


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> AnyRow:
    webhook_id = (await connection.execute(_add, dict(values))).scalar_one()
    return (await connection.execute(_get, {"id": webhook_id})).one()


async def get(connection: AsyncConnection, *, webhook_id: int) -> AnyRow | None:
    return (await connection.execute(_get, {"id": webhook_id})).one_or_none()


async def lock(connection: AsyncConnection, *, webhook_id: int) -> bool:
    """Lock a webhook until the transaction ends, as the order of its deliveries requires; False if there is none."""
    return (await connection.execute(_lock, {"id": webhook_id})).one_or_none() is not None


async def get_page(connection: AsyncConnection, *, before: int | None, limit: int) -> Sequence[AnyRow]:
    """The newest webhooks with an id below ``before``."""
    return (await connection.execute(_page, {"before": before or MAX_ID, "limit": limit})).all()


async def change(connection: AsyncConnection, *, webhook_id: int, values: Mapping[str, Any]) -> None:
    """Set columns of a webhook that is locked."""
    stamp = {"version": col(Webhook.version) + 1, "updated_at": func.clock_timestamp()}
    await connection.execute(update(Webhook).where(_by_id).values(**values, **stamp), {"of": webhook_id})


async def delete(connection: AsyncConnection, *, webhook_id: int) -> None:
    await connection.execute(_delete, {"id": webhook_id})


async def replace_secret(connection: AsyncConnection, *, webhook_id: int, secret: str, grace: timedelta) -> None:
    """Store a new secret; the old one signs too for ``grace``."""
    await connection.execute(_replace_secret, {"id": webhook_id, "secret": secret, "grace": grace})


async def is_any_behind(connection: AsyncConnection, *, last: int, most: int = MAX_PENDING) -> bool:
    """Is there an active webhook that has fewer than ``most`` pending deliveries and not all events up to ``last``?"""
    return bool(await connection.scalar(_is_behind, {"last": last, "most": most}))


async def lock_behind(connection: AsyncConnection, *, last: int, most: int = MAX_PENDING) -> AnyRow | None:
    """Of these webhooks, the one that is furthest behind, locked; None if there is none."""
    return (await connection.execute(_find_behind, {"last": last, "most": most})).one_or_none()


async def set_queued(connection: AsyncConnection, *, webhook_id: int, seq: int) -> None:
    await connection.execute(_set_queued, {"id": webhook_id, "seq": seq})


async def note_success(connection: AsyncConnection, *, webhook_id: int) -> None:
    await connection.execute(_note_success, {"id": webhook_id})


async def note_dead(connection: AsyncConnection, *, webhook_id: int) -> int:
    """Count a delivery that died; returns how many have since the last success."""
    return int((await connection.execute(_note_dead, {"id": webhook_id})).scalar_one())


async def disable(connection: AsyncConnection, *, webhook_id: int, reason: str) -> bool:
    """False if it is not active."""
    return (await connection.execute(_disable, {"id": webhook_id, "reason": reason})).one_or_none() is not None


async def find_least_queued(connection: AsyncConnection) -> int | None:
    """The ``queued_seq`` of the active webhook that is furthest behind; None if no webhook is active."""
    found: int | None = await connection.scalar(_find_least_queued)
    return found
