"""Writing in the caller's transaction: what is enqueued there exists if and only if the transaction commits.

All libraries take it as the keyword ``connection``.
"""

from typing import TYPE_CHECKING, Any

from kpi_kit.errors import KitError

if TYPE_CHECKING:
    from psycopg import AsyncConnection


class NoTransactionError(KitError):
    """What is to be written in a transaction would be written without one, or never be committed."""

    def __init__(self, reason: str = "the connection has no open transaction: begin one, and commit it") -> None:
        super().__init__(reason)


async def find_psycopg(connection: Any) -> "AsyncConnection[Any]":  # noqa: ANN401 SQLAlchemy is not a dependency
    """The psycopg connection of an open transaction.

    ``connection`` is a ``psycopg.AsyncConnection``, or SQLAlchemy's ``AsyncConnection`` or ``AsyncSession`` over
    psycopg; TypeError for anything else, and NoTransactionError if no transaction has begun.
    """
    from psycopg import AsyncConnection  # noqa: PLC0415 only those who write in a transaction have the package
    from psycopg.pq import TransactionStatus  # noqa: PLC0415

    if not isinstance(connection, AsyncConnection) and hasattr(connection, "get_bind"):
        # A session, which begins a transaction here unless it has one.
        connection = await connection.connection()
    if hasattr(connection, "get_raw_connection"):
        # SQLAlchemy would not commit a transaction of which it does not know.
        if not connection.in_transaction():
            raise NoTransactionError
        connection = (await connection.get_raw_connection()).driver_connection
    if not isinstance(connection, AsyncConnection):
        raise TypeError(f"not a connection of psycopg, or of SQLAlchemy over it: {type(connection).__name__}")
    if connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE:
        raise NoTransactionError
    return connection
