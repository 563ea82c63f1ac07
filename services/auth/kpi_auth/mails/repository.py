"""The SQL of the outbox."""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from kpi_shared.database import MAX_ID, AnyRow
from sqlalchemy import bindparam, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.mails.models import DeliveryOutcome, LeasedMail, MailState, OutboxMail

_add = insert(OutboxMail)
# WITH selects the rows once; as a subquery of IN they may be selected and locked again for each row.
_lease = text("""
    WITH due AS (
        SELECT id FROM mails WHERE state = 'pending' AND due_at <= now()
        ORDER BY due_at, id LIMIT :most FOR UPDATE SKIP LOCKED
    )
    UPDATE mails SET attempts = attempts + 1, due_at = now() + :seconds, lease = :lease
    FROM due WHERE mails.id = due.id
    RETURNING mails.id, recipient, template, content, attempts, mails.lease, expires_at, created_at,
        coalesce(expires_at <= now(), false) AS is_expired
""")
# The code before this column does not change it, so that the number of attempts identifies a lease too.
_renew = text("""
    UPDATE mails SET due_at = now() + :seconds
    FROM unnest(CAST(:ids AS bigint[]), CAST(:leases AS bigint[]), CAST(:attempts AS int[]))
        AS held(id, lease, attempts)
    WHERE mails.id = held.id AND mails.lease = held.lease AND mails.attempts = held.attempts AND state = 'pending'
    RETURNING mails.id
""")
# A worker whose lease has passed to another changes nothing.
_settle = text("""
    UPDATE mails SET
        state = :state,
        last_error = :error,
        due_at = now() + :delay,
        settled_at = CASE WHEN :state <> 'pending' THEN now() END,
        content = CASE WHEN :state <> 'sent' THEN content END
    WHERE id = :id AND state = 'pending' AND attempts = :attempts AND lease = :lease
    RETURNING id
""")
_shown = (
    col(OutboxMail.id),
    col(OutboxMail.recipient),
    col(OutboxMail.template),
    col(OutboxMail.state),
    col(OutboxMail.attempts),
    col(OutboxMail.last_error),
    col(OutboxMail.created_at),
    col(OutboxMail.due_at),
    col(OutboxMail.expires_at),
    col(OutboxMail.settled_at),
)
_page = (
    select(*_shown)
    .where(col(OutboxMail.id) < bindparam("before"))
    .order_by(col(OutboxMail.id).desc())
    .limit(bindparam("most"))
)
_page_of_state = _page.where(col(OutboxMail.state) == bindparam("of"))
_get = select(*_shown).where(col(OutboxMail.id) == bindparam("of"))
# Rows that another transaction has locked are left for the next run.
_forget_old = text("""
    DELETE FROM mails WHERE id IN (
        SELECT id FROM mails WHERE state <> 'pending' AND settled_at < now() - :kept
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")
# A dead mail can be sent again until it expires; its secret is not kept any longer than that.
_forget_old_contents = text("""
    UPDATE mails SET content = NULL WHERE id IN (
        SELECT id FROM mails WHERE state = 'dead' AND expires_at < now() AND content IS NOT NULL
        LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")
_revive = text("""
    UPDATE mails SET state = 'pending', attempts = 0, due_at = now(), settled_at = NULL, lease = NULL
    WHERE id = :id AND state = 'dead' AND content IS NOT NULL AND (expires_at IS NULL OR expires_at > now())
    RETURNING id
""")


async def add(
    connection: AsyncConnection, *, recipient: str, template: str, content: str, expires_at: datetime | None
) -> None:
    values = {"recipient": recipient, "template": template, "content": content, "expires_at": expires_at}
    await connection.execute(_add, values)


async def lease(connection: AsyncConnection, *, most: int, seconds: float) -> list[LeasedMail]:
    """Lease due mails that no other worker has leased, the longest waiting first, and count an attempt for each."""
    values = {"most": most, "seconds": timedelta(seconds=seconds), "lease": secrets.randbits(63)}
    rows = await connection.execute(_lease, values)
    return [LeasedMail(**row._mapping) for row in rows]  # noqa: SLF001 SQLAlchemy's public name for it


async def renew(connection: AsyncConnection, mails: Sequence[LeasedMail], *, seconds: float) -> set[int]:
    """Let the leases end in so many seconds from now; returns the ids of the mails that are still leased."""
    values = {
        "seconds": timedelta(seconds=seconds),
        "ids": [mail.id for mail in mails],
        "leases": [mail.lease for mail in mails],
        "attempts": [mail.attempts for mail in mails],
    }
    return set((await connection.execute(_renew, values)).scalars())


async def settle(connection: AsyncConnection, mail: LeasedMail, outcome: DeliveryOutcome) -> bool:
    """Store the outcome of a leased mail; False if the lease has passed to another worker."""
    values = {
        "id": mail.id,
        "attempts": mail.attempts,
        "lease": mail.lease,
        "state": outcome.state.value,
        "error": outcome.error,
        "delay": timedelta(seconds=outcome.delay),
    }
    return (await connection.execute(_settle, values)).one_or_none() is not None


async def get_page(
    connection: AsyncConnection, *, state: MailState | None, before: int | None, limit: int
) -> Sequence[AnyRow]:
    """The newest mails with an id below ``before``."""
    values: dict[str, object] = {"before": before or MAX_ID, "most": limit}
    if state is None:
        return (await connection.execute(_page, values)).all()
    return (await connection.execute(_page_of_state, values | {"of": state.value})).all()


async def get(connection: AsyncConnection, *, mail_id: int) -> AnyRow | None:
    return (await connection.execute(_get, {"of": mail_id})).one_or_none()


async def revive(connection: AsyncConnection, *, mail_id: int) -> bool:
    """Make a dead mail pending again; False if it is not dead, has expired or has no content left."""
    return (await connection.execute(_revive, {"id": mail_id})).one_or_none() is not None


async def forget_old(connection: AsyncConnection, *, kept: timedelta, most: int) -> int:
    """Delete mails that were settled longer ago than ``kept`` and return how many there were."""
    return (await connection.execute(_forget_old, {"kept": kept, "most": most})).rowcount


async def forget_old_contents(connection: AsyncConnection, *, most: int) -> int:
    """Delete the content of expired dead mails and return how many there were."""
    return (await connection.execute(_forget_old_contents, {"most": most})).rowcount
