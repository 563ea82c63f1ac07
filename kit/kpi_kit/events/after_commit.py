"""After a commit: a notification of PostgreSQL that a transaction sends to its own connection.

psycopg and SQLAlchemy have no hook for it (SQLAlchemy's is called before the commit), and neither says whether a commit
became a rollback. The server delivers a notification if and only if what sent it, a savepoint included, was committed.
"""

from itertools import count
from secrets import token_hex
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from kpi_kit.events.committed import CommittedEvents, Line
from kpi_kit.events.errors import EventTooLargeError

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Notify

# PostgreSQL's bound is 7,999 bytes, of which the name of an event may take 100, and its number some.
MAX_AFTER_COMMIT = 7_800


class AfterCommit:
    """Hands events to ``committed`` in the event loop, right after the commit; those of a connection in their order."""

    def __init__(self, committed: CommittedEvents) -> None:
        self._committed = committed
        # PostgreSQL folds equal notifications of one transaction into one.
        self._numbers = count(1)
        # One of its own for each connection, or all that listen would get what one has sent.
        self._channels: WeakKeyDictionary[AsyncConnection[Any], str] = WeakKeyDictionary()

    async def send(self, connection: "AsyncConnection[Any]", name: str, payload: bytes) -> None:
        from psycopg import sql  # noqa: PLC0415 only those who write in a transaction have the package

        if len(payload) > MAX_AFTER_COMMIT:
            raise EventTooLargeError(MAX_AFTER_COMMIT)
        channel = self._channels.get(connection) or self._add_channel(connection)
        # Each time: a rollback has undone it.
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        text = f"{next(self._numbers)}\n{name}\n{payload.decode()}"
        await connection.execute("SELECT pg_notify(%s, %s)", [channel, text])

    def _add_channel(self, connection: "AsyncConnection[Any]") -> str:
        channel = self._channels[connection] = f"kpi_events_{token_hex(8)}"
        line = Line()

        def handle(notification: "Notify") -> None:
            if notification.channel == channel:
                _, name, text = notification.payload.split("\n", 2)
                self._committed.add(line, name, text.encode())

        connection.add_notify_handler(handle)
        return channel
