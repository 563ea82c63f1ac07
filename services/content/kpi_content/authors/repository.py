"""The SQL of authors."""

from kpi_shared.tokens import Subject
from sqlalchemy import bindparam
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import col

from kpi_content.authors.models import Author

_new = insert(Author).values(id=bindparam("id"), username=bindparam("username"))
_remember = _new.on_conflict_do_update(
    index_elements=[col(Author.id)],
    set_={"username": _new.excluded.username},
    # An unchanged name writes no new row version.
    where=col(Author.username) != _new.excluded.username,
)


async def remember(connection: AsyncConnection, *, author: Subject) -> None:
    """Know who writes: the first write adds the author, and one under a new name renames them."""
    await connection.execute(_remember, {"id": author.id, "username": author.username})
