"""Events as they are sent, each encoded once for all of its readers."""

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from fastapi.sse import format_sse_event
from kpi_shared.database import Database, DirectConnection
from pydantic_core import to_json

from kpi_content.conversations import stream_repository
from kpi_content.conversations.stream_repository import Start, StoredEvent
from kpi_content.messages import repository as messages_repository

# Of one conversation, in one look of a process; and in one page of what a reader has missed, of whom there are many.
MOST = 100
_PAGE = 20
# A page has no more text than this, or one message: an escaped character has up to six bytes for each of its own.
_PAGE_BYTES = 128 * 1024


class LiveEvent(NamedTuple):
    """``seq`` is 0 for what is not kept. The account ``removed_id`` does not see what comes after it.

    ``data`` is empty if there is nothing to send.
    """

    seq: int
    data: bytes
    removed_id: int = 0


async def read_changes(database: Database, places: Mapping[int, int]) -> dict[int, list[LiveEvent]]:
    """What has happened since these places, by conversation; an empty list for one that does not exist any more."""
    async with database.direct() as connection:
        changes = await stream_repository.get_changes(connection, places=places, most=MOST)
        events = await _complete(connection, [change.event for change in changes if change.event is not None])
    found: dict[int, list[LiveEvent]] = {change.conversation_id: [] for change in changes}
    for conversation_id, event in events:
        found[conversation_id].append(event)
    return found


async def read_page(database: Database, *, conversation_id: int, after: int) -> list[LiveEvent]:
    """The events that follow the place without a gap: none if the next one is not kept, or the conversation is gone."""
    async with database.direct() as connection:
        page = await stream_repository.get_page(connection, conversation_id=conversation_id, after=after, most=_PAGE)
        page = [event for place, event in enumerate(page, after + 1) if event.seq == place]
        return [event for _, event in await _complete(connection, await _shorten(connection, page))]


async def read_start(database: Database, *, conversation_id: int, reader_id: int) -> Start | None:
    """None if the conversation does not exist for the reader."""
    async with database.direct() as connection:
        return await stream_repository.get_start(connection, conversation_id=conversation_id, user_id=reader_id)


async def _shorten(connection: DirectConnection, page: list[StoredEvent]) -> list[StoredEvent]:
    """The beginning of the page whose messages are not too long together; the first event in any case."""
    ids = _message_ids(page)
    sizes = await messages_repository.get_sizes(connection, message_ids=ids) if len(ids) > 1 else {}
    totals = accumulate(sizes.get(event.data.get("id", 0), 0) for event in page)
    return [event for at, (event, total) in enumerate(zip(page, totals, strict=True)) if not at or total <= _PAGE_BYTES]


async def _complete(connection: DirectConnection, events: Iterable[StoredEvent]) -> list[tuple[int, LiveEvent]]:
    """With the messages that they are about. One that has been deleted meanwhile is not sent: its deletion follows."""
    events = list(events)
    ids = _message_ids(events)
    messages = await messages_repository.get_all(connection, message_ids=ids) if ids else {}
    return [(event.conversation_id, _encode(event, messages)) for event in events]


def _message_ids(events: Iterable[StoredEvent]) -> list[int]:
    return [event.data["id"] for event in events if event.type == "message.created"]


def _encode(event: StoredEvent, messages: Mapping[int, dict[str, Any]]) -> LiveEvent:
    data: dict[str, Any] | None = event.data
    if event.type == "message.created":
        message = messages.get(event.data["id"])
        data = None if message is None else {**message, "draft": event.data["draft"]}
    removed_id = event.data["user_id"] if event.type == "member.removed" else 0
    sent = b"" if data is None else encode_event(event.type, data, seq=event.seq)
    return LiveEvent(event.seq, sent, removed_id)


def encode_event(event_type: str, data: Mapping[str, Any], *, seq: int = 0) -> bytes:
    return format_sse_event(event=event_type, data_str=to_json(data).decode(), id=str(seq) if seq else None)
