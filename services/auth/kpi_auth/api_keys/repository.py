"""The SQL of API keys. Statements are built once; each call only binds its values."""

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any

from kpi_shared.database import AnyRow, DirectConnection
from sqlalchemy import TextClause, bindparam, func, insert, text, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_auth.accounts.fragments import ACCOUNT_VERSION, IS_OPEN, OF_USER_ID, TABLE
from kpi_auth.api_keys.fields import EndReason, KeyState
from kpi_auth.api_keys.filters import KeyFilter
from kpi_auth.api_keys.models import ApiKey, KeyUse, UsableKey
from kpi_auth.events import repository as events
from kpi_auth.events.fragments import put_from
from kpi_auth.events.models import EventType
from kpi_auth.events.payloads import ApiKeyActivated, ApiKeyEnded

_STATES = {
    KeyState.EXPIRED: "api_keys.expires_at <= now()",
    KeyState.ACTIVE: "api_keys.is_active AND (api_keys.expires_at IS NULL OR api_keys.expires_at > now())",
    KeyState.INACTIVE: "NOT api_keys.is_active AND (api_keys.expires_at IS NULL OR api_keys.expires_at > now())",
}
_USABLE = f"{_STATES[KeyState.ACTIVE]} AND {IS_OPEN}"
_SHOWN = f"""
    api_keys.id, user_id, name, description, prefix, scopes, allowed_networks, rate_limit_requests, rate_limit_window,
    api_keys.is_active, api_keys.created_at, api_keys.updated_at, api_keys.expires_at, replaced_by, api_keys.version,
    is_held, last_used_at, last_used_address, uses,
    CASE {" ".join(f"WHEN {condition} THEN '{state}'" for state, condition in _STATES.items())} END AS state
"""
_next_id = text("SELECT nextval(pg_get_serial_sequence('api_keys', 'id'))")
_count = text("SELECT count(*) FROM api_keys WHERE user_id = :user_id")
_get = text(f"SELECT {_SHOWN} FROM api_keys WHERE id = :id")  # noqa: S608 our own text
_lock = text(f"SELECT {_SHOWN} FROM api_keys WHERE id = :id FOR NO KEY UPDATE")  # noqa: S608 as above
_add = insert(ApiKey)
_by_id = col(ApiKey.id) == bindparam("of")
_ENDED = "jsonb_build_object('api_key_id', id, 'reason', CAST(:reason AS text))"
_PUT_ENDED = put_from("deleted", EventType.API_KEY_ENDED, account="user_id", data=_ENDED)
_delete = text(f"""
    WITH deleted AS (DELETE FROM api_keys WHERE id = :id RETURNING id, user_id), put AS ({_PUT_ENDED})
    SELECT id FROM deleted
""")  # noqa: S608 as above
_delete_all = text(f"""
    WITH deleted AS (DELETE FROM api_keys WHERE user_id = :user_id RETURNING id, user_id), put AS ({_PUT_ENDED})
    SELECT count(*) FROM deleted
""")  # noqa: S608 as above
_get_subject = text(f"""
    SELECT username, role FROM api_keys JOIN {TABLE} ON {OF_USER_ID}
    WHERE api_keys.id = :id AND user_id = :user_id AND {_USABLE}
""")  # noqa: S608 as above
# For the driver itself, as the most frequent statement of this table.
_find_usable = f"""
    SELECT api_keys.id, user_id, username, role, {ACCOUNT_VERSION}, secret_hash, scopes, allowed_networks,
        rate_limit_requests, rate_limit_window, api_keys.expires_at,
        CAST(extract(epoch FROM api_keys.expires_at - now()) AS float8)
    FROM api_keys JOIN {TABLE} ON {OF_USER_ID}
    WHERE api_keys.id = ANY(CAST(%(ids)s AS bigint[])) AND {_USABLE}
""".encode()  # noqa: S608 as above
_find_hash = text("SELECT id, user_id, name, secret_hash FROM api_keys WHERE id = :id")
# Locked in the order of their ids, so that two batches cannot deadlock. The sender's clock may run ahead.
_add_uses = text("""
    WITH given AS (
        SELECT * FROM unnest(
            CAST(:ids AS bigint[]), CAST(:counts AS bigint[]), CAST(:times AS timestamptz[]), CAST(:addresses AS text[])
        ) AS given (id, count, at, address)
    ), locked AS (
        SELECT id FROM api_keys WHERE id IN (SELECT id FROM given) ORDER BY id FOR NO KEY UPDATE
    )
    UPDATE api_keys SET
        uses = uses + given.count,
        last_used_address = CASE WHEN last_used_at > given.at THEN last_used_address ELSE given.address END,
        last_used_at = greatest(last_used_at, least(given.at, now()))
    FROM given JOIN locked USING (id)
    WHERE api_keys.id = given.id
""")
_owners = text("SELECT id, user_id, name FROM api_keys WHERE id = ANY(CAST(:ids AS bigint[]))")
_forget_old = text("""
    DELETE FROM api_keys WHERE id IN (
        SELECT id FROM api_keys WHERE expires_at < now() - :kept LIMIT :most FOR UPDATE SKIP LOCKED
    )
""")


async def next_id(connection: AsyncConnection) -> int:
    """The id of a key that is about to be added: its text contains it."""
    return int((await connection.execute(_next_id)).scalar_one())


async def count(connection: AsyncConnection, *, user_id: int) -> int:
    return int((await connection.execute(_count, {"user_id": user_id})).scalar_one())


async def add(connection: AsyncConnection, values: Mapping[str, Any]) -> AnyRow:
    await connection.execute(_add, values)
    return (await connection.execute(_get, {"id": values["id"]})).one()


async def get(connection: AsyncConnection, *, key_id: int) -> AnyRow | None:
    return (await connection.execute(_get, {"id": key_id})).one_or_none()


async def lock(connection: AsyncConnection, *, key_id: int) -> AnyRow | None:
    """The key, locked until the transaction ends."""
    return (await connection.execute(_lock, {"id": key_id})).one_or_none()


async def change(connection: AsyncConnection, *, before: AnyRow, values: Mapping[str, Any]) -> AnyRow:
    """Set columns of a key whose row ``before`` is locked."""
    stamp = {"version": col(ApiKey.version) + 1, "updated_at": func.clock_timestamp()}
    await connection.execute(update(ApiKey).where(_by_id).values(**values, **stamp), {"of": before.id})
    after = (await connection.execute(_get, {"id": before.id})).one()
    await _put_change(connection, before, after)
    return after


async def _put_change(connection: AsyncConnection, before: AnyRow, after: AnyRow) -> None:
    """The event of a key that ends, or works again. Other changes are in the next token; see ``end_uses``, too."""
    if after.state == before.state or KeyState.ACTIVE not in {after.state, before.state}:
        return
    if after.state == KeyState.ACTIVE:
        activated = ApiKeyActivated(api_key_id=after.id)
        await events.put(connection, EventType.API_KEY_ACTIVATED, activated, account_id=after.user_id)
    else:
        ended = ApiKeyEnded(api_key_id=after.id, reason=after.state)
        await events.put(connection, EventType.API_KEY_ENDED, ended, account_id=after.user_id)


async def end_uses(connection: AsyncConnection, *, key_id: int, user_id: int) -> None:
    """End the streams and uploads that were begun with an active key, which goes on working."""
    ended = ApiKeyEnded(api_key_id=key_id, reason=EndReason.NARROWED)
    await events.put(connection, EventType.API_KEY_ENDED, ended, account_id=user_id)
    await events.put(connection, EventType.API_KEY_ACTIVATED, ApiKeyActivated(api_key_id=key_id), account_id=user_id)


async def delete(connection: AsyncConnection, *, key_id: int, reason: EndReason) -> bool:
    values = {"id": key_id, "reason": reason.value}
    return (await connection.execute(_delete, values)).one_or_none() is not None


async def delete_all(connection: AsyncConnection, *, user_id: int, reason: EndReason) -> int:
    """Delete all keys of a user; returns how many."""
    values = {"user_id": user_id, "reason": reason.value}
    return int((await connection.execute(_delete_all, values)).scalar_one())


async def get_subject(connection: AsyncConnection, *, key_id: int, user_id: int) -> AnyRow | None:
    """The owner's current name and role; None if the key cannot be used or the account is closed."""
    return (await connection.execute(_get_subject, {"id": key_id, "user_id": user_id})).one_or_none()


async def find_usable(connection: DirectConnection, *, key_ids: Collection[int]) -> dict[int, UsableKey]:
    """By id, those of the keys that can be used."""
    cursor = await connection.execute(_find_usable, {"ids": list(key_ids)}, prepare=True)
    return {row[0]: UsableKey(*row) for row in await cursor.fetchall()}


async def get_hash(connection: AsyncConnection, *, key_id: int) -> AnyRow | None:
    """The hash of a key in any state."""
    return (await connection.execute(_find_hash, {"id": key_id})).one_or_none()


async def get_page(
    connection: AsyncConnection, *, key_filter: KeyFilter, before: int | None, limit: int
) -> Sequence[AnyRow]:
    """The newest keys that match; ``before`` is the id at which the previous page ended."""
    values: dict[str, object] = {"owner_id": key_filter.owner_id, "before": before}
    given = {name: value for name, value in values.items() if value is not None}
    statement = _page_statement(frozenset(given), key_filter.state)
    return (await connection.execute(statement, {**given, "limit": limit})).all()


@cache
def _page_statement(names: frozenset[str], state: KeyState | None) -> TextClause:
    conditions = ["true"]
    conditions += ["user_id = :owner_id"] if "owner_id" in names else []
    conditions += ["api_keys.id < :before"] if "before" in names else []
    conditions += [_STATES[state]] if state is not None else []
    # All fragments are constants of this module.
    where = " AND ".join(conditions)
    return text(f"SELECT {_SHOWN} FROM api_keys WHERE {where} ORDER BY api_keys.id DESC LIMIT :limit")  # noqa: S608


async def add_uses(connection: AsyncConnection, uses: Sequence[KeyUse]) -> None:
    """Add to the counts of keys, each at most once; keys that have been deleted are ignored."""
    values = {
        "ids": [use.key_id for use in uses],
        "counts": [use.requests for use in uses],
        "times": [use.at for use in uses],
        "addresses": [use.address for use in uses],
    }
    await connection.execute(_add_uses, values)


async def get_owners(connection: AsyncConnection, *, key_ids: Sequence[int]) -> dict[int, AnyRow]:
    """The owners and names of those keys that exist, by the key's id."""
    rows = await connection.execute(_owners, {"ids": list(key_ids)})
    return {row.id: row for row in rows}


async def forget_old(connection: AsyncConnection, *, kept: timedelta, most: int) -> int:
    """Delete keys that expired longer ago than ``kept``; returns how many. Locked rows wait for the next run."""
    return (await connection.execute(_forget_old, {"kept": kept, "most": most})).rowcount


async def end_after(connection: AsyncConnection, *, before: AnyRow, grace: timedelta, successor: int) -> AnyRow:
    """Let a key that has a successor expire, at the latest when it would have anyway."""
    earliest = func.least(col(ApiKey.expires_at), func.now() + grace)
    return await change(connection, before=before, values={"expires_at": earliest, "replaced_by": successor})
