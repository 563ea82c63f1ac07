"""The SQL of streams of events: where one begins, and what has happened since some place."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kpi_shared.database import DirectConnection
from kpi_shared.database.statements import Statement
from sqlalchemy import text


class Start(NamedTuple):
    """The newest place of a conversation, and the oldest of an event that is kept; None if none is."""

    last: int
    oldest: int | None


class StoredEvent(NamedTuple):
    conversation_id: int
    seq: int
    type: str
    data: dict[str, Any]


class Change(NamedTuple):
    """A conversation that is not as it was known: it has an event, or none and is gone or not the one that it was."""

    conversation_id: int
    event: StoredEvent | None


_AGE = "CAST(extract(epoch FROM clock_timestamp() - occurred_at) AS float8)"
_get_start: Statement[Start] = Statement(
    text("""
        SELECT conversations.last_event, (
            SELECT min(seq) FROM conversation_events WHERE conversation_id = conversations.id
        )
        FROM conversation_members JOIN conversations ON conversations.id = conversation_members.conversation_id
        WHERE conversation_members.conversation_id = :conversation_id AND user_id = :user_id
            AND conversations.deleted_at IS NULL
    """),
    Start._make,
)
_get_page: Statement[StoredEvent] = Statement(
    text("""
        SELECT conversation_id, seq, type, data
        FROM conversation_events JOIN conversations ON conversations.id = conversation_id AND deleted_at IS NULL
        WHERE conversation_id = :conversation_id AND seq > :after
        ORDER BY seq LIMIT :most
    """),
    StoredEvent._make,
)


def may_write(conversation_id: str, user_id: str) -> str:
    """The condition for two columns in statements that write nothing here: ``lock_writer`` is for those that do."""
    return f"""
        EXISTS (
            SELECT FROM conversation_members AS member
            WHERE member.conversation_id = {conversation_id} AND member.user_id = {user_id} AND member.role <> 'reader'
        )
    """


def _make_change(values: Sequence[Any]) -> Change:
    return Change(values[0], StoredEvent._make(values) if values[1] is not None else None)


# For all conversations at once: those that are as they are known to be have no row.
_get_changes: Statement[Change] = Statement(
    text("""
        SELECT known.id, new.*
        FROM unnest(CAST(:ids AS bigint[]), CAST(:places AS bigint[])) AS known (id, place)
        LEFT JOIN conversations ON conversations.id = known.id AND conversations.deleted_at IS NULL
        LEFT JOIN LATERAL (
            SELECT seq, type, data FROM conversation_events
            WHERE conversation_id = conversations.id AND seq > known.place
            ORDER BY seq LIMIT :most
        ) AS new ON true
        WHERE conversations.last_event IS DISTINCT FROM known.place
        ORDER BY known.id, new.seq
    """),
    _make_change,
)


async def get_start(connection: DirectConnection, *, conversation_id: int, user_id: int) -> Start | None:
    """None if the conversation does not exist for the account."""
    return await _get_start.one_or_none(connection, {"conversation_id": conversation_id, "user_id": user_id})


async def get_page(connection: DirectConnection, *, conversation_id: int, after: int, most: int) -> list[StoredEvent]:
    return await _get_page.all(connection, {"conversation_id": conversation_id, "after": after, "most": most})


async def get_changes(connection: DirectConnection, *, places: Mapping[int, int], most: int) -> list[Change]:
    """What came after the known places, by conversation; at most so many events of each."""
    values = {"ids": list(places), "places": list(places.values()), "most": most}
    return await _get_changes.all(connection, values)
