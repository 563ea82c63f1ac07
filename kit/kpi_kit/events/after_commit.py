"""After a commit: a notification of PostgreSQL that a transaction sends to its own connection.

psycopg and SQLAlchemy have no hook for it (SQLAlchemy's is called before the commit), and neither says whether a commit
became a rollback. The server delivers a notification if and only if what sent it, a savepoint included, was committed.
"""

from collections.abc import Callable
from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from kpi_kit.events.borrowing import run_in_transaction, to_text
from kpi_kit.events.committed import CommitOrder, CommittedEvents
from kpi_kit.events.errors import EventTooLargeError

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Notify

# PostgreSQL's bound is 7,999 bytes, of which the name of an event may take 100, and two numbers some.
MAX_AFTER_COMMIT = 7_800
# The number of the transaction is the same in its savepoints.
_NOTIFY = "SELECT pg_notify(%s, pg_current_xact_id()::text || %s::text)"
_TIMEOUT = 10.0


class AfterCommit:
    """Hands events to ``committed`` in the event loop, right after the commit; those of a connection in their order.

    With ``runs_listeners`` in the order of each transaction: others would wait for the listeners of one that is over.
    """

    def __init__(self, committed: CommittedEvents, *, runs_listeners: bool) -> None:
        self._committed = committed
        self._runs_listeners = runs_listeners
        # PostgreSQL folds equal notifications of one transaction into one.
        self._numbers = count(1)
        # One of its own for each connection, or all that listen would get what one has sent.
        self._channels: WeakKeyDictionary[AsyncConnection[Any], tuple[str, Callable[[Notify], None]]] = (
            WeakKeyDictionary()
        )

    async def send(self, connection: "AsyncConnection[Any]", name: str, payload: bytes) -> None:
        text = to_text(connection, payload)
        if len(text.encode()) > MAX_AFTER_COMMIT:
            raise EventTooLargeError(MAX_AFTER_COMMIT)
        await run_in_transaction(connection, self._notify(connection, name, text), seconds=_TIMEOUT)

    def close(self) -> None:
        """Leave the connections, except those of an open transaction, whose events are then noted as lost."""
        from psycopg.pq import TransactionStatus  # noqa: PLC0415

        for connection, (_, handle) in list(self._channels.items()):
            if connection.info.transaction_status in (TransactionStatus.IDLE, TransactionStatus.UNKNOWN):
                connection.remove_notify_handler(handle)
                del self._channels[connection]

    async def _notify(self, connection: "AsyncConnection[Any]", name: str, text: str) -> None:
        from psycopg import sql  # noqa: PLC0415

        channel, _ = self._channels.get(connection) or self._add_channel(connection)
        # Each time: a rollback has undone it.
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        await connection.execute(_NOTIFY, [channel, f"\n{next(self._numbers)}\n{name}\n{text}"])

    def _add_channel(self, connection: "AsyncConnection[Any]") -> "tuple[str, Callable[[Notify], None]]":
        channel = f"kpi_events_{token_hex(8)}"
        # Those of one transaction come together.
        number, order = "", CommitOrder()

        def handle(notification: "Notify") -> None:
            nonlocal number, order
            if notification.channel == channel:
                transaction, _, name, text = notification.payload.split("\n", 3)
                if transaction != number and self._runs_listeners:
                    number, order = transaction, CommitOrder()
                self._committed.add(order, name, text.encode())

        connection.add_notify_handler(handle)
        self._channels[connection] = channel, handle
        return channel, handle
