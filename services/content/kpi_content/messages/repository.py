"""The SQL of messages. A statement is built once; a request only binds its values."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from kpi_shared.caller import Subject
from kpi_shared.database import DirectConnection, get_direct
from kpi_shared.database.statements import Statement
from psycopg.types.json import Jsonb
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
    Select,
    SQLColumnExpression,
    Text,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.authors.repository import author_name, join_author, join_author_or_none
from kpi_content.conversations.member_repository import WORD_OF_ONE, WORDS_OF_ALL, join_caller, require_member
from kpi_content.conversations.repository import join_deleted, select_counters
from kpi_content.conversations.writing_repository import (
    add_event,
    add_number,
    caller,
    conversation,
    excerpt_of,
    lock_writer,
    mark_own_as_read,
    notify,
    remove_number,
)
from kpi_content.messages.errors import MessageNotFoundError
from kpi_content.messages.filters import Position, SearchFilter
from kpi_content.messages.models import Message
from kpi_content.messages.rows import FIELDS, MessageRow, make_message
from kpi_content.messages.schemas import MessageCreate
from kpi_content.search.repository import matches
from kpi_content.search.terms import parse_search

_columns = Message.__table__.c  # type: ignore[attr-defined]
_COLUMN_OF = {"interrupted": "is_interrupted"}
_shown = tuple(_columns[_COLUMN_OF.get(name, name)] for name in FIELDS)

_content = bindparam("sent_content", type_=Text)
_numbered = add_number(lock_writer(), _content)
_written = {
    "conversation_id": _numbered.c.id,
    "number": _numbered.c.last_number,
    "role": bindparam("sent_role", type_=Text),
    "content": _content,
    "metadata": bindparam("sent_metadata", type_=_columns.metadata.type),
    "author_id": caller,
    "created_at": _numbered.c.last_message_at,
    "is_interrupted": bindparam("sent_is_interrupted", type_=Boolean),
}
_added = (
    insert(Message)
    .from_select(list(_written), select(*_written.values()))
    .returning(*_shown, _columns.author_id)
    .cte("added")
)
_about_added = func.jsonb_build_object(
    *("number", _added.c.number, "id", _added.c.id, "draft", bindparam("sent_draft", type_=Text))
)
_shown_added = join_author(
    select(_added, author_name, notify(_numbered)).join(_numbered, _numbered.c.id == _added.c.conversation_id),
    _added.c.author_id,
)
_event = add_event(_numbered, kind="message.created", data=_about_added, beside=_added)
_add = Statement(_shown_added.add_cte(mark_own_as_read(_numbered), _event), make_message)
_all = join_author_or_none(select(*_shown, _columns.author_id, author_name), _columns.author_id)
_of_caller = join_caller(_all, _columns.conversation_id)
_of_conversation = _columns.conversation_id == conversation
_is_it = and_(_of_conversation, _columns.id == bindparam("message", type_=BigInteger))
_get = Statement(_of_caller.where(_is_it), make_message)
_read = _all.where(_is_it)

_place = bindparam("place", type_=BigInteger)
_most = bindparam("most", type_=BigInteger)
# The numbers of rows that a page may ask for: by default 10, at most 100, and one more that shows whether a next page
# exists.
_SIZES = (11, 26, 51, 101)
# Of the contents of a page, which JSON may make six times as long. It is more than the longest content.
PAGE_BYTES = 1024 * 1024


def _bound_bytes(page: Select[*tuple[Any, ...]], *, by: str, is_backwards: bool) -> Select[*tuple[Any, ...]]:
    """Only the first rows, up to the one with which their contents are longer than PAGE_BYTES.

    The length of a content is known without reading it. ``by`` is the column that the page is in the order of.
    """
    rows = page.subquery("page").c
    bytes_before = func.sum(func.octet_length(rows.content)).over(
        order_by=rows[by].desc() if is_backwards else rows[by].asc(), rows=(None, -1)
    )
    counted = select(*rows, func.coalesce(bytes_before, 0).label("bytes_before")).subquery("counted").c
    fitting = select(*list(counted)[:-1]).where(counted.bytes_before <= literal_column(str(PAGE_BYTES)))
    return fitting.order_by(counted[by].desc() if is_backwards else counted[by].asc())


@cache
def page_statement(*, is_backwards: bool, size: int) -> Select[*tuple[Any, ...]]:
    """The first ``size`` messages of a conversation after a place, or before it.

    The number of rows is a part of the statement, so that the server makes one plan for that few rows and keeps it.
    """
    number = _columns.number
    listed = _of_caller.where(_of_conversation, number < _place if is_backwards else number > _place)
    in_order = listed.order_by(number.desc() if is_backwards else number.asc())
    return _bound_bytes(in_order.limit(literal_column(str(size))), by="number", is_backwards=is_backwards)


@cache
def _page(*, is_backwards: bool, size: int) -> Statement[MessageRow]:
    return Statement(page_statement(is_backwards=is_backwards, size=size), make_message)


# Not an order that an index has: read in it, the newest messages of all others would come before the caller's own.
_newest_first = (_columns.id + literal_column("0", BigInteger)).desc()
_is_before = _columns.id < _place
_in_one = (
    _of_caller.where(_of_conversation, _is_before, matches("messages.search", and_also=WORD_OF_ONE))
    .order_by(_newest_first)
    .limit(_most)
)
# The index is read once, before anything is joined: PostgreSQL cannot estimate how many messages match, and would read
# it once for each conversation of the caller, or all messages without it.
_found = (
    select(_columns.id, _columns.conversation_id)
    .where(_is_before, matches("messages.search", and_also=WORDS_OF_ALL))
    .cte("found")
    .prefix_with("MATERIALIZED", dialect="postgresql")
)
_newest_found = join_caller(select(_found.c.id), _found.c.conversation_id).order_by(_found.c.id.desc()).limit(_most)
_page_found = _newest_found.subquery("page")
_in_all = _all.join(_page_found, _page_found.c.id == _columns.id).order_by(_page_found.c.id.desc())


def search_statement(*, in_one: bool) -> Select[*tuple[Any, ...]]:
    """In one conversation, or in all that the caller may see."""
    return _bound_bytes(_in_one if in_one else _in_all, by="id", is_backwards=True)


# Which plan is right depends on the words and on what the caller may see.
_searches = {
    in_one: Statement(search_statement(in_one=in_one), make_message, is_prepared=False) for in_one in (False, True)
}

_above = select(func.count()).select_from(Message).where(_of_conversation, _columns.number > _place)
_count_above = select_counters().add_columns(_above.scalar_subquery())
_removed = (
    delete(Message).where(_is_it).returning(_columns.id, _columns.number, _columns.conversation_id).cte("removed")
)
_newest = (
    select(_columns.created_at, excerpt_of(_columns.content).label("excerpt"))
    .where(_of_conversation, _columns.id != bindparam("message", type_=BigInteger))
    .order_by(_columns.number.desc())
    .limit(1)
    .cte("newest")
)
_left = remove_number(_newest)
_about_removed = func.jsonb_build_object("number", _removed.c.number, "id", _removed.c.id)
_remove = select(notify(_left)).add_cte(
    _removed, add_event(_left, kind="message.deleted", data=_about_removed, beside=_removed)
)
# Some of those of deleted conversations, few enough for one short transaction.
_of_deleted = join_deleted(select(_columns.id), _columns.conversation_id).limit(_most)
_forgotten = _of_deleted.with_for_update(skip_locked=True, of=Message).scalar_subquery()
_forget_deleted = delete(Message).where(_columns.id.in_(_forgotten))
_get_sizes: Statement[tuple[int, int]] = Statement(
    select(_columns.id, func.octet_length(_columns.content)).where(
        _columns.id == func.any(bindparam("ids", type_=ARRAY(BigInteger)))
    ),
    lambda values: (values[0], values[1]),
)
_get_all = Statement(_all.where(_columns.id == func.any(bindparam("ids", type_=ARRAY(BigInteger)))), make_message)


class Counted(NamedTuple):
    """How many messages are above a number, and the newest number and event of their conversation at that moment."""

    last_number: int
    last_event: int
    above: int


async def add(
    connection: AsyncConnection,
    *,
    conversation_id: int,
    message: MessageCreate,
    author: Subject,
    draft: str | None,
    is_interrupted: bool,
) -> MessageRow | None:
    """Add the message with its event; None if the author may not write in the conversation."""
    metadata = None if message.metadata is None else Jsonb(message.metadata)
    values = {
        "sent_role": message.role.value,
        "sent_content": message.content,
        "sent_metadata": metadata,
        "sent_draft": draft,
        "sent_is_interrupted": is_interrupted,
        "conversation": conversation_id,
        "caller": author.id,
    }
    return await _add.one_or_none(await get_direct(connection), values)


async def get(
    connection: DirectConnection, *, conversation_id: int, message_id: int, caller_id: int
) -> MessageRow | None:
    """The message; None if the caller is no member, or there is none."""
    values = {"conversation": conversation_id, "message": message_id, "caller": caller_id}
    return await _get.one_or_none(connection, values)


async def get_or_raise(
    connection: DirectConnection, *, conversation_id: int, message_id: int, caller_id: int
) -> MessageRow:
    row = await get(connection, conversation_id=conversation_id, message_id=message_id, caller_id=caller_id)
    if row is None:
        await require_member(connection, conversation_id=conversation_id, caller_id=caller_id)
        raise MessageNotFoundError
    return row


async def get_page(
    connection: DirectConnection, *, conversation_id: int, caller_id: int, start: Position, limit: int
) -> list[MessageRow]:
    """``limit`` rows, which is 101 at most, in the direction of reading; fewer, if they are long (``count_fitting``).

    ConversationNotFoundError if the caller is no member.
    """
    statement = _page(is_backwards=start.is_backwards, size=next(size for size in _SIZES if size >= limit))
    values = {"conversation": conversation_id, "caller": caller_id, "place": start.number}
    rows = await statement.all(connection, values)
    if not rows:
        await require_member(connection, conversation_id=conversation_id, caller_id=caller_id)
    return rows[:limit]


def count_fitting(rows: Sequence[MessageRow]) -> int:
    """How many rows a page may have: without the last one, if with it their contents are longer than PAGE_BYTES."""
    length = sum(len(row["content"].encode()) for row in rows)
    return len(rows) - (length > PAGE_BYTES)


async def search(
    connection: DirectConnection, *, search_filter: SearchFilter, before: int, limit: int
) -> list[MessageRow]:
    """Matching messages with ids below ``before``, newest first; fewer, if they are long (``count_fitting``)."""
    terms = parse_search(search_filter.search)
    if not any(terms):
        return []
    statement = _searches[search_filter.conversation_id is not None]
    values = {"caller": search_filter.member_id, "conversation": search_filter.conversation_id}
    return await statement.all(connection, {**terms._asdict(), **values, "place": before, "most": limit})


async def read(connection: AsyncConnection, *, conversation_id: int, message_id: int) -> MessageRow | None:
    """The message, for a caller whose rights have been checked."""
    row = (await connection.execute(_read, {"conversation": conversation_id, "message": message_id})).one_or_none()
    return None if row is None else make_message(row)


async def count_above(
    connection: AsyncConnection, *, conversation_id: int, number: int, caller_id: int
) -> Counted | None:
    """Messages above the number; None if the caller is no member."""
    values = {"conversation": conversation_id, "place": number, "caller": caller_id}
    row = (await connection.execute(_count_above, values)).one_or_none()
    return None if row is None else Counted._make(row)


async def remove(connection: AsyncConnection, *, conversation_id: int, message_id: int) -> None:
    """Delete a message that is there, with its event; the conversation's last message is the newest that stays."""
    await connection.execute(_remove, {"conversation": conversation_id, "message": message_id})


def has_messages(conversation_id: SQLColumnExpression[int]) -> ColumnElement[bool]:
    return select(_columns.id).where(_columns.conversation_id == conversation_id).exists()


async def forget_deleted(connection: AsyncConnection, *, most: int) -> int:
    """Delete messages of deleted conversations, and return how many there were."""
    return (await connection.execute(_forget_deleted, {"most": most})).rowcount


async def get_sizes(connection: DirectConnection, *, message_ids: Sequence[int]) -> dict[int, int]:
    """The bytes of the texts of those that exist, by their ids; the texts are not read for it."""
    return dict(await _get_sizes.all(connection, {"ids": list(message_ids)}))


async def get_all(connection: DirectConnection, *, message_ids: Sequence[int]) -> dict[int, MessageRow]:
    """Those that exist, by their ids."""
    rows = await _get_all.all(connection, {"ids": list(message_ids)})
    return {row["id"]: row for row in rows}
