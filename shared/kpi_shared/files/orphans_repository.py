"""Which files a table still names."""

from collections.abc import Sequence

from sqlalchemy import Text, any_, bindparam, column, select, table, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

_HAS_COLUMN = text(
    "SELECT EXISTS (SELECT FROM information_schema.columns WHERE table_schema = current_schema()"
    " AND table_name = :table AND column_name = :column AND data_type = 'jsonb')"
)


async def find_named(
    connection: AsyncConnection, *, table_name: str, field: str, etags: Sequence[str]
) -> set[str] | None:
    """Those that rows name; None if the table has no such column, so that nothing can be said."""
    if not await connection.scalar(_HAS_COLUMN, {"table": table_name, "column": field}):
        return None
    etag = column(field, JSONB)["etag"].astext
    named = select(etag).select_from(table(table_name)).where(etag == any_(bindparam("etags", type_=ARRAY(Text))))
    return set((await connection.execute(named, {"etags": list(etags)})).scalars())
