"""The SQL of the members of conversations.

What writes here is called with the conversation locked: see ``writing_repository``.
"""

from operator import itemgetter
from typing import Any

from kpi_shared.database import DirectConnection
from kpi_shared.database.statements import Statement
from sqlalchemy import BigInteger, Select, SQLColumnExpression, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_content.authors.repository import author_name, is_not_deleted, join_author, keep_author
from kpi_content.conversations.errors import ConversationNotFoundError, MemberNotFoundError
from kpi_content.conversations.models import Member, MemberRole
from kpi_content.conversations.rows import MemberRow, make_member
from kpi_content.conversations.writing_repository import caller, conversation

_members = Member.__table__.c  # type: ignore[attr-defined]
_find_role = select(_members.role).where(_members.conversation_id == conversation, _members.user_id == caller)
_find_role_directly = Statement(_find_role, itemgetter(0))
_IS_IT = "conversation_id = :conversation AND user_id = :user"
_count = text("SELECT count(*) FROM conversation_members WHERE conversation_id = :conversation")
_add = text("""
    INSERT INTO conversation_members (conversation_id, user_id, role, read_gaps)
    -- Nothing is read, and the numbers of deleted messages are no unread ones.
    SELECT id, :user, :role, last_number - message_count FROM conversations WHERE id = :conversation
    ON CONFLICT DO NOTHING RETURNING user_id
""")
_change_role = text(f"UPDATE conversation_members SET role = :role WHERE {_IS_IT}")  # noqa: S608 our own text
_remove = text(f"DELETE FROM conversation_members WHERE {_IS_IT}")  # noqa: S608 as above
_remove_all = text("DELETE FROM conversation_members WHERE conversation_id = :conversation")
_mark = text(f"""
    UPDATE conversation_members SET read_number = :number, read_gaps = :gaps
    WHERE {_IS_IT} AND read_number <> :number RETURNING user_id
""")  # noqa: S608 as above
_add_gap = text("""
    UPDATE conversation_members SET read_gaps = read_gaps + 1
    WHERE conversation_id = :conversation AND read_number < :number
""")

# As a tsquery: the words of the caller's conversations in the search index of messages. With more of them, testing each
# entry against all words costs more than reading entries of others; the empty query changes nothing in a search.
MAX_SCOPE = 256
WORDS_OF_ALL = f"""
    CAST((
        SELECT CASE WHEN count(*) = 0 THEN quote_literal('#') WHEN count(*) <= {MAX_SCOPE}
            THEN string_agg(quote_literal('#' || conversation_id), ' | ') ELSE '' END
        FROM conversation_members WHERE user_id = :caller
    ) AS tsquery)
"""  # noqa: S608 as above
WORD_OF_ONE = "CAST(quote_literal('#' || CAST(:conversation AS bigint)) AS tsquery)"

_user = bindparam("user", type_=BigInteger)
_shown = (_members.role, _members.joined_at, _members.read_number, _members.user_id, author_name)
_listed = join_author(select(*_shown), _members.user_id).where(_members.conversation_id == conversation)
_read = _listed.where(_members.user_id == _user)
_get = Statement(_read, make_member)
_page = Statement(
    _listed.where(_members.user_id > bindparam("after", type_=BigInteger))
    .order_by(_members.user_id)
    .limit(bindparam("most", type_=BigInteger)),
    make_member,
)


def select_owners() -> Select[*tuple[Any, ...]]:
    """The ids of those owners of the conversation whose accounts are not deleted: the others can do nothing."""
    owners = select(_members.user_id).where(_members.conversation_id == conversation)
    return join_author(owners, _members.user_id).where(_members.role == MemberRole.OWNER.value, is_not_deleted)


_find_other_owner = keep_author(select_owners().where(_members.user_id != _user).limit(1))


def join_caller(statement: Select[*tuple[Any, ...]], of: SQLColumnExpression[int]) -> Select[*tuple[Any, ...]]:
    """Only rows of conversations, whose ids are ``of``, that ``caller`` is a member of."""
    return statement.join(Member, col(Member.conversation_id) == of).where(col(Member.user_id) == caller)


async def find_role(connection: AsyncConnection, *, conversation_id: int, user_id: int) -> MemberRole | None:
    """The role of a member; None if the account is none."""
    role = await connection.scalar(_find_role, {"conversation": conversation_id, "caller": user_id})
    return None if role is None else MemberRole(role)


async def count(connection: AsyncConnection, *, conversation_id: int) -> int:
    return int((await connection.execute(_count, {"conversation": conversation_id})).scalar_one())


async def add(connection: AsyncConnection, *, conversation_id: int, user_id: int, role: MemberRole) -> bool:
    """Add the member; False if the account is one already."""
    values = {"conversation": conversation_id, "user": user_id, "role": role.value}
    return await connection.scalar(_add, values) is not None


async def change_role(connection: AsyncConnection, *, conversation_id: int, user_id: int, role: MemberRole) -> None:
    await connection.execute(_change_role, {"conversation": conversation_id, "user": user_id, "role": role.value})


async def remove(connection: AsyncConnection, *, conversation_id: int, user_id: int) -> None:
    await connection.execute(_remove, {"conversation": conversation_id, "user": user_id})


async def remove_all(connection: AsyncConnection, *, conversation_id: int) -> None:
    await connection.execute(_remove_all, {"conversation": conversation_id})


async def has_other_owner(connection: AsyncConnection, *, conversation_id: int, user_id: int) -> bool:
    """Whether the conversation has an owner without this one, whose account is not deleted in this transaction."""
    return await connection.scalar(_find_other_owner, {"conversation": conversation_id, "user": user_id}) is not None


async def mark(connection: AsyncConnection, *, conversation_id: int, user_id: int, number: int, gaps: int) -> bool:
    """Move the read mark, above which ``gaps`` messages have been deleted; False if it is there already."""
    values = {"conversation": conversation_id, "user": user_id, "number": number, "gaps": gaps}
    return await connection.scalar(_mark, values) is not None


async def add_gap(connection: AsyncConnection, *, conversation_id: int, number: int) -> None:
    """The message with this number is deleted, for those who have not read it."""
    await connection.execute(_add_gap, {"conversation": conversation_id, "number": number})


async def read(connection: AsyncConnection, *, conversation_id: int, user_id: int) -> MemberRow:
    """A member whose row is there, as the transaction has left it."""
    return make_member((await connection.execute(_read, {"conversation": conversation_id, "user": user_id})).one())


async def get_or_raise(
    connection: DirectConnection, *, conversation_id: int, user_id: int, caller_id: int
) -> MemberRow:
    """A member; ConversationNotFoundError if the caller is none, or MemberNotFoundError."""
    await require_member(connection, conversation_id=conversation_id, caller_id=caller_id)
    row = await _get.one_or_none(connection, {"conversation": conversation_id, "user": user_id})
    if row is None:
        raise MemberNotFoundError
    return row


async def get_page(
    connection: DirectConnection, *, conversation_id: int, caller_id: int, after: int, limit: int
) -> list[MemberRow]:
    """The members with ids above ``after``; ConversationNotFoundError if the caller is none."""
    await require_member(connection, conversation_id=conversation_id, caller_id=caller_id)
    return await _page.all(connection, {"conversation": conversation_id, "after": after, "most": limit})


async def require_member(connection: DirectConnection, *, conversation_id: int, caller_id: int) -> None:
    """ConversationNotFoundError if the caller is no member."""
    values = {"conversation": conversation_id, "caller": caller_id}
    if await _find_role_directly.one_or_none(connection, values) is None:
        raise ConversationNotFoundError
