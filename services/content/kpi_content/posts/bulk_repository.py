"""The SQL that adds many posts at once."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from kpi_shared.database.copying import copy_rows
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_next_ids = text("SELECT nextval(pg_get_serial_sequence('posts', 'id')) FROM generate_series(1, :count)")


class NewPost(NamedTuple):
    """The columns of a new, published post; the others have defaults."""

    id: int
    owner_id: int
    title: str
    content: str
    date: datetime
    published_at: datetime
    updated_at: datetime
    votes: int


_copy = f"COPY posts ({', '.join(NewPost._fields)}) FROM STDIN"


async def reserve_ids(connection: AsyncConnection, *, count: int) -> Sequence[int]:
    return (await connection.scalars(_next_ids, {"count": count})).all()


async def add_all(connection: AsyncConnection, *, posts: Iterable[NewPost]) -> None:
    await copy_rows(connection, _copy, posts)
