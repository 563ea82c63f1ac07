"""The SQL of messages. A statement is built once; a request only binds its values."""

from collections.abc import Sequence

from kpi_shared.caller import Subject
from kpi_shared.database import DirectConnection
from sqlalchemy import ARRAY, BigInteger, Boolean, Text, bindparam, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kpi_content.authors.repository import author_name, join_author
from kpi_content.conversations.writing_repository import (
    add_event,
    add_number,
    caller,
    lock_writer,
    mark_own_as_read,
    notify,
)
from kpi_content.messages.models import Message
from kpi_content.messages.rows import FIELDS, MessageRow, make_message
from kpi_content.messages.schemas import MessageCreate
from kpi_content.statements import Statement

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
_add = join_author(
    select(_added, author_name, notify(_numbered)).join(_numbered, _numbered.c.id == _added.c.conversation_id),
    _added.c.author_id,
).add_cte(
    mark_own_as_read(_numbered),
    add_event(_numbered, kind="message.created", data=_about_added, beside=_added),
)

_ids = bindparam("ids", type_=ARRAY(BigInteger))
_get_all = Statement(
    join_author(select(*_shown, _columns.author_id, author_name), _columns.author_id).where(
        _columns.id == func.any(_ids)
    ),
    make_message,
)


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
    sent = {**message.model_dump(mode="json"), "draft": draft, "is_interrupted": is_interrupted}
    values = {f"sent_{name}": value for name, value in sent.items()}
    found = await connection.execute(_add, {**values, "conversation": conversation_id, "caller": author.id})
    row = found.one_or_none()
    return None if row is None else make_message(row)


async def get_all(connection: DirectConnection, *, message_ids: Sequence[int]) -> dict[int, MessageRow]:
    """Those that exist, by their ids."""
    rows = await _get_all.all(connection, {"ids": list(message_ids)})
    return {row["id"]: row for row in rows}
