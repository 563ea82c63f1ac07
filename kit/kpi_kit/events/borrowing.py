"""Statements on the connection of a caller, whose transaction goes on after them."""

import asyncio
import json
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from kpi_kit.events.errors import EventError, EventsSchemaError, EventsUnavailableError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

# How long a server may take to end a statement that it is asked to cancel.
_CANCEL_SECONDS = 1.0


async def run_in_transaction(
    connection: "AsyncConnection[Any]", call: Coroutine[Any, Any, object], *, seconds: float
) -> None:
    """EventsUnavailableError if the server is away or takes longer; EventsSchemaError; EventError if it refuses.

    After each of them the transaction can only be rolled back. The connection to a server that stands still is closed.
    """
    import psycopg  # noqa: PLC0415 only those who write in a transaction have the package

    try:
        await _run_or_close(connection, call, seconds)
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName):
        raise EventsSchemaError from None
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg.errors.ReadOnlySqlTransaction,
        OSError,
        TimeoutError,
    ) as error:
        raise EventsUnavailableError(f"the transaction did not take the event ({type(error).__name__})") from None
    except psycopg.Error as error:
        raise EventError(f"the database refused the event with {type(error).__name__}") from None


async def _run_or_close(connection: "AsyncConnection[Any]", call: Coroutine[Any, Any, object], seconds: float) -> None:
    task = asyncio.create_task(call)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        async with asyncio.timeout(seconds):
            await asyncio.shield(task)
    finally:
        if not task.done():
            # psycopg asks the server to end the statement.
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
        if not task.done():
            connection.pgconn.finish()
            task.cancel()


def to_text(connection: "AsyncConnection[Any]", payload: bytes) -> str:
    """The JSON as the connection and its database can take it: with escapes where one of them is not in UTF-8.

    EventsUnavailableError if the connection is closed.
    """
    import psycopg  # noqa: PLC0415 only those who write in a transaction have the package

    try:
        encodings = {connection.info.parameter_status(name) for name in ("client_encoding", "server_encoding")}
    except psycopg.OperationalError:
        raise EventsUnavailableError("the connection of the transaction is closed") from None
    return payload.decode() if encodings == {"UTF8"} else json.dumps(json.loads(payload), separators=(",", ":"))
