"""Writing in the caller's transaction: what is enqueued there exists if and only if the transaction commits."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import AsyncConnection


async def find_psycopg(connection: Any) -> "AsyncConnection[Any]":  # noqa: ANN401 SQLAlchemy is not a dependency
    """The psycopg connection of an open transaction.

    ``connection`` is a ``psycopg.AsyncConnection``, or SQLAlchemy's ``AsyncConnection`` or ``AsyncSession`` over
    psycopg; TypeError for anything else.
    """
    from psycopg import AsyncConnection  # noqa: PLC0415 only those who write in a transaction have the package

    if hasattr(connection, "connection") and not hasattr(connection, "get_raw_connection"):
        connection = await connection.connection()
    if hasattr(connection, "get_raw_connection"):
        connection = (await connection.get_raw_connection()).driver_connection
    if not isinstance(connection, AsyncConnection):
        raise TypeError(f"not a connection of psycopg, or of SQLAlchemy over it: {type(connection).__name__}")
    return connection
